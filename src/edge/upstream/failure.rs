//! What a failed exchange means to the client.

use std::{fmt, io};

use http::StatusCode;
use pingora_core::{Error, ErrorSource, ErrorType};

use crate::edge::door::chunks::Malformed;

/// The status that tells a client about a failed exchange; `None` when the client itself is gone.
pub(crate) fn status_of(error: &Error) -> Option<StatusCode> {
    if let ErrorType::HTTPStatus(status) = error.etype() {
        return StatusCode::from_u16(*status).ok();
    }
    match (error.esource(), error.etype()) {
        (
            ErrorSource::Upstream,
            ErrorType::ConnectTimedout
            | ErrorType::ReadTimedout
            | ErrorType::WriteTimedout
            | ErrorType::TLSHandshakeTimedout,
        ) => Some(StatusCode::GATEWAY_TIMEOUT),
        (ErrorSource::Upstream, _) if timed_out(error) => Some(StatusCode::GATEWAY_TIMEOUT),
        (ErrorSource::Upstream, _) => Some(StatusCode::BAD_GATEWAY),
        (ErrorSource::Downstream, ErrorType::ReadTimedout) => Some(StatusCode::REQUEST_TIMEOUT),
        (ErrorSource::Downstream, _) if is_malformed(error) => Some(StatusCode::BAD_REQUEST),
        (
            ErrorSource::Downstream,
            ErrorType::ReadError
            | ErrorType::WriteError
            | ErrorType::WriteTimedout
            | ErrorType::ConnectionClosed
            | ErrorType::H2Error,
        ) => None,
        (ErrorSource::Downstream, _) => Some(StatusCode::BAD_REQUEST),
        (ErrorSource::Internal | ErrorSource::Unset, _) => Some(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// Whether the connection itself has given up, as [`patience`](super::patience) and the system do.
pub(super) fn timed_out(error: &Error) -> bool {
    io_error(error).is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
}

/// Whether the door would not let the body through.
fn is_malformed(error: &Error) -> bool {
    let cause = io_error(error).and_then(io::Error::get_ref);
    cause.is_some_and(<dyn std::error::Error + Send + Sync>::is::<Malformed>)
}

fn io_error(error: &Error) -> Option<&io::Error> {
    let cause = error.root_cause();
    let of_http2 = || cause.downcast_ref::<h2::Error>()?.get_io();
    cause.downcast_ref().or_else(of_http2)
}

/// A failure for the log: its kind, where it happened, and its first cause. Each of Pingora's layers
/// tells the same once more.
pub(crate) struct Told<'e>(pub(crate) &'e Error);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.etype().as_str())?;
        let mut context = None;
        let mut layer = Some(self.0);
        let mut cause = None;
        while let Some(error) = layer {
            context = error.context.as_ref().or(context);
            cause = error.cause.as_ref();
            layer = cause
                .and_then(|cause| cause.downcast_ref::<Box<Error>>())
                .map(|it| &**it);
        }
        if let Some(context) = context {
            write!(f, ": {context}")?;
        }
        match cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_each_word_once() {
        let refused = io::Error::from_raw_os_error(111);
        let error = Error::because(ErrorType::ConnectRefused, "to 127.0.0.1:1", refused);
        let error = Error::because(
            ErrorType::ConnectRefused,
            "to 127.0.0.1:1, scheme: HTTP",
            error,
        );
        assert_eq!(
            Told(&error).to_string(),
            "ConnectRefused: to 127.0.0.1:1: Connection refused (os error 111)"
        );
        let plain = Error::new(ErrorType::InvalidHTTPHeader);
        assert_eq!(Told(&plain).to_string(), "InvalidHTTPHeader");
        let explained = Error::explain(ErrorType::ReadTimedout, "after 75 s");
        let over = Error::because(ErrorType::ReadTimedout, "", explained);
        assert!(Told(&over).to_string().ends_with("after 75 s"));
    }

    #[test]
    fn failures_have_the_statuses_people_know() {
        use ErrorType::{
            ConnectRefused, ConnectTimedout, ConnectionClosed, HTTPStatus, InvalidHTTPHeader,
            ReadError, ReadTimedout, WriteError,
        };
        for (error, status) in [
            (Error::new_up(ConnectRefused), Some(502)),
            (Error::new_up(ConnectionClosed), Some(502)),
            (Error::new_up(ConnectTimedout), Some(504)),
            (Error::new_up(ReadTimedout), Some(504)),
            (
                Error::because(ReadError, "", io::Error::from(io::ErrorKind::TimedOut)).into_up(),
                Some(504),
            ),
            (Error::new_down(ReadTimedout), Some(408)),
            (Error::new_down(InvalidHTTPHeader), Some(400)),
            (Error::new_down(ConnectionClosed), None),
            (Error::new_down(WriteError), None),
            (
                Error::because(
                    ReadError,
                    "",
                    io::Error::new(io::ErrorKind::InvalidData, Malformed("no size")),
                )
                .into_down(),
                Some(400),
            ),
            (
                Error::because(ReadError, "", io::Error::from(io::ErrorKind::InvalidData))
                    .into_down(),
                None,
            ),
            (Error::new_in(HTTPStatus(413)), Some(413)),
            (Error::new_in(WriteError), Some(500)),
        ] {
            let answered = status_of(&error).map(|status| status.as_u16());
            assert_eq!(answered, status, "{error}");
        }
    }
}
