//! CPU time of processes.

/// The unit of `/proc/PID/stat` on every Linux that Postgres runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// The seconds of CPU that a process and its children have used: of those that are gone as the kernel
/// counts them for their parent (to a hundredth), of those that run by their own clock (exactly).
pub(crate) fn of_family(process: u32) -> f64 {
    super::family(process).into_iter().map(|member| own(member) + gone(member)).sum()
}

/// Of several families.
pub(crate) fn of_families(processes: &[u32]) -> f64 {
    processes.iter().map(|process| of_family(*process)).sum()
}

fn own(process: u32) -> f64 {
    // Every thread has its clock; the file of the process is that of its first thread only.
    let threads = std::fs::read_dir(format!("/proc/{process}/task"));
    let clocks = threads.into_iter().flatten().flatten().filter_map(|thread| {
        let clock = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        clock.split_whitespace().next()?.parse::<f64>().ok()
    });
    let nanoseconds: f64 = clocks.sum();
    match nanoseconds {
        0.0 => ticks(process, [11, 12]),
        _ => nanoseconds / 1e9,
    }
}

/// Of children that have ended and were waited for.
fn gone(process: u32) -> f64 {
    ticks(process, [13, 14])
}

/// Fields of `/proc/PID/stat`, counted behind the name, which may hold blanks.
fn ticks(process: u32, fields: [usize; 2]) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let values: Vec<&str> = behind_name.split_whitespace().collect();
    let value = |field: usize| values.get(field).and_then(|value| value.parse::<f64>().ok());
    fields.into_iter().filter_map(value).sum::<f64>() / TICKS_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn work_is_seen_and_so_is_that_of_children_that_are_gone() {
        let me = std::process::id();
        let before = of_family(me);
        let loops = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done";
        assert!(Command::new("sh").args(["-c", loops]).status().unwrap().success());
        let used = of_family(me) - before;
        assert!(used > 0.005, "{used} s");
        assert!(used < 60.0, "{used} s");
    }
}
