//! The functions of the addon.

use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::bell::Doorbell;
use crate::options::{NativeConnectOptions, NativeServeOptions};
use crate::pending::{Pending, PendingServer, PendingSession, PendingStream};
use crate::session::NativeReconnect;

/// Opens a session with one stream.
#[napi]
pub fn connect(bell: &Doorbell, mut options: NativeConnectOptions) -> Result<PendingStream> {
    let target = options.target.take();
    let options = alknet::ConnectOptions::try_from(options);
    let opening = async move {
        let target = target.map_or_else(|| Ok(alknet::Target::control()), |text| text.parse())?;
        alknet::connect(&options?, &target).await
    };
    Pending::start(bell, opening).map(PendingStream)
}

/// Opens a supervised session.
#[napi]
pub fn open_session(
    bell: &Doorbell,
    options: NativeConnectOptions,
    reconnect: NativeReconnect,
) -> Result<PendingSession> {
    let options = alknet::ConnectOptions::try_from(options);
    let opening = async move { alknet::ChannelManager::new(&options?, reconnect.into()).await };
    Pending::start(bell, opening).map(PendingSession)
}

/// Starts a server.
#[napi]
pub fn serve(bell: &Doorbell, options: NativeServeOptions) -> Result<PendingServer> {
    let options = alknet::ServeOptions::from(options);
    Pending::start(bell, async move { alknet::serve(&options).await }).map(PendingServer)
}
