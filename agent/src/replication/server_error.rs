//! `ErrorResponse` and `NoticeResponse` as errors and log lines of ours.

use crate::error::{Error, kind_of_sqlstate};
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{ErrorFields, NoticeResponseBody};

/// The error that a server sent.
pub(super) fn error_of(mut fields: ErrorFields<'_>) -> Error {
    let (mut code, mut message, mut detail, mut hint) = Default::default();
    while let Ok(Some(field)) = fields.next() {
        let place: &mut String = match field.type_() {
            b'C' => &mut code,
            b'M' => &mut message,
            b'D' => &mut detail,
            b'H' => &mut hint,
            _ => continue,
        };
        *place = String::from_utf8_lossy(field.value_bytes()).into_owned();
    }
    if message.is_empty() {
        return Error::protocol("the server sent an error without a message");
    }
    let mut error = Error::new(kind_of_sqlstate(&code), message).sqlstate(code);
    if !detail.is_empty() {
        error = error.detail(detail);
    }
    if !hint.is_empty() {
        error = error.hint(hint);
    }
    error
}

/// Warnings and notices go to the log.
pub(super) fn log_notice(body: &NoticeResponseBody) {
    let notice = error_of(body.fields());
    tracing::info!(code = notice.code(), "server: {notice}");
}
