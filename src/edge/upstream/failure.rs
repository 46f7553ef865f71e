//! What a failed exchange means to the client.

use std::io;

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
fn timed_out(error: &Error) -> bool {
    io_error(error).is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
}

/// Whether the door would not let the body through.
fn is_malformed(error: &Error) -> bool {
    let cause = io_error(error).and_then(io::Error::get_ref);
    cause.is_some_and(<dyn std::error::Error + Send + Sync>::is::<Malformed>)
}

fn io_error(error: &Error) -> Option<&io::Error> {
    error.root_cause().downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

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
