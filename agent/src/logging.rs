//! Logs go to standard error: plain on a terminal, with journald's level prefixes under systemd.

use std::io::{self, IsTerminal, Write};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{self, FormatEvent, FormatFields};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// `RUST_LOG` decides where it is set; else `-v` and `-q` do.
pub(crate) fn start(verbose: u8, quiet: bool, service: bool) {
    let level = match (quiet, verbose, service) {
        (true, _, _) => "error",
        // A command that a person calls says what it does; a service says what happens to it.
        (false, 0, false) => "warn",
        (false, 0, true) | (false, 1, false) => "info",
        (false, _, _) => "debug",
    };
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("warn,syncjournal_agent={level}")));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // systemd sets it for services whose standard error is the journal.
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.with_ansi(false).event_format(Journal).init();
    } else {
        let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        builder.with_ansi(colour).with_target(false).init();
    }
}

/// `<4>text`: journald takes the level from it and has a clock of its own.
struct Journal;

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: format::Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        write!(writer, "<{priority}>")?;
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            if let Some(fields) = extensions.get::<FormattedFields<N>>() {
                write!(writer, "{fields}: ")?;
            }
        }
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// Writes an error as a command reports it. The last resort: nothing can be done if this fails.
pub(crate) fn report(error: &crate::error::Error) {
    let _ = writeln!(io::stderr(), "{}", error.report());
}
