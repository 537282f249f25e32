//! Unix sockets to listen on, for their owner alone.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

use crate::dial::socket_name;
use crate::error::{Error, Phase, Result};
use crate::io::{Connected, Ends};
use crate::listen::{Incoming, Listener};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// Read and write, for the owner.
const MODE: u32 = 0o600;

/// A bound socket. Its file goes with it.
pub(crate) struct Unix {
    listener: UnixListener,
    /// Who may connect besides root.
    owner: u32,
    _file: Option<SocketFile>,
}

impl Unix {
    /// Binds `path`, or `@name`. With `replace`, a socket file that nobody listens on is removed first.
    ///
    /// # Errors
    /// `EADDRINUSE` when there is something already; `EACCES`, `ENOENT` and others of bind(2).
    pub(crate) fn bind(path: &str, replace: bool) -> Result<Self> {
        let failed = |e| Error::system("listen", path, e).at(Phase::Listen);
        let (owner, listener) = match open(path) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
                if !is_stale(path) {
                    return Err(failed(e));
                }
                if !replace {
                    return Err(failed(e).hint("nobody listens on that socket; remove its file"));
                }
                fs::remove_file(path).map_err(failed)?;
                open(path)
            }
            opened => opened,
        }
        .map_err(failed)?;
        let file = SocketFile::of(path).map_err(failed)?;
        Ok(Self { listener, owner, _file: file })
    }
}

fn open(path: &str) -> io::Result<(u32, UnixListener)> {
    let owner = UnixStream::pair()?.0.peer_cred()?.uid();
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Linux gives the file the mode that the socket has, so nobody else can connect at any moment, whatever the umask is.
    let file = File::from(OwnedFd::from(socket));
    let _ = file.set_permissions(Permissions::from_mode(MODE));
    let socket = Socket::from(OwnedFd::from(file));
    let name = socket_name(path);
    socket.bind(&SockAddr::unix(&name)?)?;
    if !path.starts_with('@') {
        fs::set_permissions(&name, Permissions::from_mode(MODE))?;
    }
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok((owner, UnixListener::from_std(OwnedFd::from(socket).into())?))
}

/// Whether `path` is a socket that nobody listens on. A datagram socket asks, for it can be refused without being accepted: by a
/// listener of the other type it is.
fn is_stale(path: &str) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let asked = UnixDatagram::unbound().and_then(|socket| socket.connect(path));
    is_socket && asked.is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
}

/// The file of a socket of ours, removed with it unless another has taken its place.
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: &str) -> io::Result<Option<Self>> {
        if path.starts_with('@') {
            return Ok(None);
        }
        let path = Path::new(path);
        let found = fs::symlink_metadata(path)?;
        Ok(Some(Self { path: path.to_owned(), device: found.dev(), inode: found.ino() }))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Listener for Unix {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Incoming>> {
        async {
            let (socket, _) = self.listener.accept().await?;
            // An abstract socket has no mode: here it is as if it had.
            let peer = socket.peer_cred()?.uid();
            if peer != self.owner && peer != 0 {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let ends = Ends { transport: "unix", ..Ends::default() };
            let link = Connected { io: Box::new(socket), ends: ends.clone() };
            Ok(Incoming { ends, handshake: std::future::ready(Ok(link)).boxed() })
        }
        .boxed()
    }
}
