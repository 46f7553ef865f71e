//! Compression of live answers, local and proxied alike: a downstream module of Pingora.
//!
//! 1. The proxy arms the module of a request with a [`Request`], once the route is known. A module
//!    that was never armed does nothing.
//! 2. The head of the final answer is judged (`decision`): left alone, marked with `Vary`, or
//!    turned into the head of a compressed answer. HEAD is judged as GET would be.
//! 3. The body is encoded piece by piece (`encoder`), as long as all encoders together have the
//!    memory for it (`encoders`). Bodies of unknown length are flushed at every piece, so that
//!    nothing a client waits for is held back.
//!
//! Pingora's own module is not used: it does not read weights and does not flush.

pub(crate) mod accept_encoding;
mod cells;
mod decision;
mod encoder;
mod encoders;
pub(crate) mod whole;

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, request};
use pingora_core::modules::http::{HttpModule, HttpModuleBuilder, Module, ModuleBuilder};
use pingora_core::{ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use self::accept_encoding::Accepted;
pub(crate) use self::cells::CompressionCells;
use self::decision::Verdict;
pub(crate) use self::decision::is_negotiable;
use self::encoder::Encoder;
pub(crate) use self::encoders::Encoders;
use crate::config::Coding;
use crate::edge::message::{content_length, is_interim};

/// What the decision needs to know of a request.
pub(crate) struct Request {
    coding: Option<Coding>,
    is_head: bool,
    has_credentials: bool,
    if_none_match: Option<HeaderValue>,
    compress: Option<bool>,
    encoders: Arc<Encoders>,
}

/// The module: one for each request.
#[derive(Default)]
pub(crate) struct Compression(State);

#[derive(Default)]
enum State {
    /// Not armed, decided against it, or through.
    #[default]
    Off,
    Armed(Box<Request>),
    Encoding(Box<Encoder>),
}

impl Request {
    /// Reads a request's head; `compress` is the route's setting.
    pub(crate) fn new(
        head: &request::Parts,
        compress: Option<bool>,
        encoders: Arc<Encoders>,
    ) -> Self {
        // HTTP/1.0 knows no chunks, and to end a body by closing would hide its truncation.
        let knows_chunks = head.version >= Version::HTTP_11;
        let coding = if knows_chunks && !decision::forbids_transformation(&head.headers) {
            Accepted::of(&head.headers, &encoders.config().algorithms).best()
        } else {
            None
        };
        Self {
            coding,
            is_head: head.method == Method::HEAD,
            has_credentials: head.headers.contains_key(COOKIE)
                || head.headers.contains_key(AUTHORIZATION),
            if_none_match: head.headers.get(IF_NONE_MATCH).cloned(),
            compress,
            encoders,
        }
    }
}

impl Compression {
    /// What `init_downstream_modules` registers.
    pub(crate) fn builder() -> ModuleBuilder {
        Box::new(Builder)
    }

    /// Lets the module judge the answer to `request`.
    pub(crate) fn arm(&mut self, request: Request) {
        self.0 = State::Armed(Box::new(request));
    }

    /// The answer is nobody's own: a file has nothing in it that came with a request.
    pub(crate) fn is_of_public(&mut self) {
        if let State::Armed(request) = &mut self.0 {
            request.has_credentials = false;
        }
    }

    /// Leaves the answer as it is.
    pub(crate) fn disarm(&mut self) {
        self.0 = State::Off;
    }

    /// Ends the body, if one is being encoded.
    fn finish(&mut self, piece: &[u8]) -> Result<Option<Bytes>> {
        match std::mem::take(&mut self.0) {
            State::Encoding(encoder) => {
                let rest = encoder.finish(piece);
                Ok(Some(rest.or_err(ErrorType::InternalError, "compressing")?))
            }
            State::Off | State::Armed(_) => Ok(None),
        }
    }
}

#[async_trait]
impl HttpModule for Compression {
    async fn request_header_filter(&mut self, request: &mut RequestHeader) -> Result<()> {
        decision::strengthen_if_match(request)
    }

    async fn response_header_filter(
        &mut self,
        response: &mut ResponseHeader,
        end_of_stream: bool,
    ) -> Result<()> {
        if is_interim(response.status) {
            return Ok(());
        }
        let State::Armed(request) = std::mem::take(&mut self.0) else {
            return Ok(());
        };
        if response.status == StatusCode::NOT_MODIFIED {
            return decision::confirm(&request, response);
        }
        match decision::decide(&request, response.status, &response.headers, end_of_stream) {
            Verdict::Leave => return Ok(()),
            Verdict::Identity => {}
            Verdict::Encode(coding) if request.is_head => decision::encode(response, coding)?,
            Verdict::Encode(coding) => {
                let length = content_length(&response.headers);
                let encoder = request.encoders.begin(coding, length);
                if let Some(encoder) = encoder.or_err(ErrorType::InternalError, "compressing")? {
                    decision::encode(response, coding)?;
                    decision::send_in_chunks(response)?;
                    self.0 = State::Encoding(Box::new(encoder));
                }
            }
        }
        decision::vary(response)
    }

    fn response_body_filter(
        &mut self,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
    ) -> Result<()> {
        let State::Encoding(encoder) = &mut self.0 else {
            return Ok(());
        };
        let piece = body.take().unwrap_or_default();
        let output = if end_of_stream {
            self.finish(&piece)?.unwrap_or_default()
        } else {
            encoder
                .push(&piece)
                .or_err(ErrorType::InternalError, "compressing")?
        };
        // An empty piece would be written as the chunk that ends the body.
        *body = Some(output).filter(|output| !output.is_empty());
        Ok(())
    }

    /// Unannounced trailers give way to the end of the body (RFC 9110, section 6.5.1, lets them).
    fn response_trailer_filter(
        &mut self,
        _trailers: &mut Option<Box<HeaderMap>>,
    ) -> Result<Option<Bytes>> {
        self.finish(&[])
    }

    fn response_done_filter(&mut self) -> Result<Option<Bytes>> {
        self.finish(&[])
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
    /// Last of all: it reads the headers as the client will see them.
    fn order(&self) -> i16 {
        i16::MIN / 2
    }

    fn init(&self) -> Module {
        Box::new(Compression::default())
    }
}

#[cfg(test)]
mod tests;
