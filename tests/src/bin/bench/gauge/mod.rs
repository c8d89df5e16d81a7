//! What processes use, read from `/proc`.

pub(crate) mod cpu;
pub(crate) mod memory;

/// A process and its children, theirs too.
fn family(process: u32) -> Vec<u32> {
    let mut members = vec![process];
    let mut next = 0;
    while let Some(member) = members.get(next).copied() {
        members.extend(children(member));
        next += 1;
    }
    members
}

/// Of all its threads: any of them may have made the child.
fn children(process: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let lists =
        threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let children = lists.flat_map(|list| {
        list.split_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<_>>()
    });
    children.collect()
}
