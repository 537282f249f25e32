//! What a session can be asked for, one by one: streams to sockets, and listeners at the server's end.

use std::time::Duration;

use super::{ChannelManager, ForwardOptions, RemoteForwarder, Route};
use crate::config::{Bind, PortForwardSpec};
use crate::error::Result;
use crate::ssh::Stream;
use crate::target::Target;

impl ChannelManager {
    /// Opens a stream to a TCP port as the server sees it. See [`ChannelManager::open`].
    ///
    /// # Errors
    /// Those of [`ChannelManager::open`].
    pub async fn open_direct_tcpip(
        &self,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> Result<Stream> {
        self.open(&Target::from_open(host, u32::from(port))?, limit).await
    }

    /// Opens a stream to a Unix socket at the server's end, `/path` or `@name`. See [`ChannelManager::open`].
    ///
    /// # Errors
    /// Those of [`ChannelManager::open`]; `ERR_ALKNET_CONFIG` for what is no path of a socket.
    pub async fn open_streamlocal(&self, path: &str, limit: Duration) -> Result<Stream> {
        self.open(&Target::from_path(path)?, limit).await
    }

    /// Asks the server to listen, now and on every later session; connections there come to `target` here. Port 0 takes a free one.
    /// Returns the real port, by which it is cancelled. A [`RemoteForwarder`] that the manager keeps.
    ///
    /// # Errors
    /// Those of [`RemoteForwarder::keep`].
    pub async fn request_tcpip_forward(
        &self,
        address: &str,
        port: u16,
        target: &Target,
    ) -> Result<u16> {
        let listen = Bind::Port { host: Some(address.to_owned()), port };
        let spec = PortForwardSpec::new(listen, target.clone())?;
        let options = ForwardOptions::default();
        let forward = RemoteForwarder::keep(&spec, self, Route::direct(), &options).await?;
        let bound = forward.port().filter(|bound| *bound != 0).unwrap_or(port);
        self.requested.lock().insert((address.to_owned(), bound), forward);
        Ok(bound)
    }

    /// Ends what [`ChannelManager::request_tcpip_forward`] began, and its connections. False when there is no such listener.
    pub async fn cancel_tcpip_forward(&self, address: &str, port: u16) -> bool {
        let forward = self.requested.lock().remove(&(address.to_owned(), port));
        match forward {
            Some(forward) => {
                forward.close().await;
                true
            }
            None => false,
        }
    }
}
