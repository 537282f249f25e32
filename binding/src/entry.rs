//! The functions of the addon.

use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::bell::Doorbell;
use crate::bus::NativeBusOptions;
use crate::options::{NativeConnectOptions, NativeServeOptions, source};
use crate::pending::{
    Pending, PendingBus, PendingKeyInfo, PendingServer, PendingSession, PendingStream,
    PendingTunnel,
};
use crate::session::NativeReconnect;
use crate::tunnel::NativeTunnelOptions;

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

/// Begins a supervised session with a container.
#[napi]
pub fn open_tunnel(
    bell: &Doorbell,
    options: NativeTunnelOptions,
    reconnect: NativeReconnect,
) -> Result<PendingTunnel> {
    let options = options.with(reconnect.into());
    let opening = async move { alknet::Tunnel::new(&options).await };
    Pending::start(bell, opening).map(PendingTunnel)
}

/// Starts a server.
#[napi]
pub fn serve(bell: &Doorbell, options: NativeServeOptions) -> Result<PendingServer> {
    let options = options.split();
    let starting = async move {
        let (options, asked) = options?;
        Ok((alknet::serve(&options).await?, asked))
    };
    Pending::start(bell, starting).map(PendingServer)
}

/// Makes a bus without a server.
#[napi]
pub fn create_bus(bell: &Doorbell, options: NativeBusOptions) -> Result<PendingBus> {
    let (options, asked) = options.split();
    let making = async move { Ok((alknet::EventBus::new(&options).await?, asked)) };
    Pending::start(bell, making).map(PendingBus)
}

/// Looks at a private key, given as a path or as its contents, without its passphrase.
#[napi]
pub fn inspect_key(
    bell: &Doorbell,
    path: Option<String>,
    contents: Option<Uint8Array>,
    insecure_permissions: bool,
) -> Result<PendingKeyInfo> {
    let source = source(path, contents.as_ref())
        .ok_or_else(|| Error::from_reason("neither a path nor contents"))?;
    let looking = async move { alknet::inspect_key(&source, insecure_permissions).await };
    Pending::start(bell, looking).map(PendingKeyInfo)
}
