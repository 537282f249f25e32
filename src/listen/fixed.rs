//! Every arrival wants the same: a listener of streams as a listener of requests for one target.

use std::io;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{Answer, Incoming, Listener, Request};
use crate::error::{Error, Result};
use crate::io::{Connected, Io};
use crate::target::Target;

/// See the module.
pub(crate) struct Fixed {
    pub(crate) inner: Box<dyn Listener>,
    pub(crate) target: Target,
}

impl Listener<Request> for Fixed {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Incoming<Request>>> {
        async {
            let Incoming { ends, handshake } = self.inner.accept().await?;
            let target = self.target.clone();
            let request = async move {
                let stream = handshake.await?;
                let origin = stream.ends.remote;
                Ok(Request { target, origin, answer: Box::new(Silent(stream)) })
            };
            Ok(Incoming { ends, handshake: request.boxed() })
        }
        .boxed()
    }
}

/// A peer that knows of no answer: yes is the open stream, no is a reset.
struct Silent(Connected);

impl Answer for Silent {
    fn accept(self: Box<Self>) -> BoxFuture<'static, Result<Connected>> {
        std::future::ready(Ok(self.0)).boxed()
    }

    fn asker(&mut self) -> Option<&mut dyn Io> {
        Some(&mut *self.0.io)
    }

    fn refuse(mut self: Box<Self>, _why: Error) -> BoxFuture<'static, ()> {
        self.0.io.abort();
        std::future::ready(()).boxed()
    }
}
