//! Where HTTP/2 answers are recorded: the last of the downstream modules.
//!
//! The streams of a connection share one wire, so nothing there is one answer's alone. The tape
//! travels with the request, and takes from this module what the others have made of the body; the
//! head is asked for when it has been written.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::Result;
use pingora_core::modules::http::{HttpModule, HttpModuleBuilder, Module, ModuleBuilder};
use pingora_http::RequestHeader;

use super::Tape;

/// The module: one for each request.
#[derive(Default)]
pub(in crate::edge) struct Recorder(Option<Tape>);

impl Recorder {
    pub(in crate::edge) fn builder() -> ModuleBuilder {
        Box::new(Builder)
    }

    /// Has the answer to `request` kept on `tape`.
    pub(in crate::edge) fn lay_in(request: &mut RequestHeader, tape: Tape) {
        // Extensions must be able to be cloned; this one never is.
        request.extensions_mut().insert(Arc::new(tape));
    }

    pub(super) fn tape(&self) -> Option<&Tape> {
        self.0.as_ref()
    }

    pub(super) fn take_out(&mut self) -> Option<Tape> {
        self.0.take()
    }
}

#[async_trait]
impl HttpModule for Recorder {
    async fn request_header_filter(&mut self, request: &mut RequestHeader) -> Result<()> {
        let tape = request.extensions_mut().remove::<Arc<Tape>>();
        self.0 = tape.and_then(Arc::into_inner);
        Ok(())
    }

    fn response_body_filter(&mut self, body: &mut Option<Bytes>, _: bool) -> Result<()> {
        if let (Some(tape), Some(bytes)) = (&mut self.0, body) {
            tape.take(bytes);
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

struct Builder;

impl HttpModuleBuilder for Builder {
    fn order(&self) -> i16 {
        // After all that change anything. Pingora negates it, which the least number can't bear.
        i16::MIN + 1
    }

    fn init(&self) -> Module {
        Box::new(Recorder::default())
    }
}
