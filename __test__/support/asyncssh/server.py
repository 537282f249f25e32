"""An asyncssh server for the suites: echoes on alknet-control, refuses 'prohibited', dials every other target.

Arguments: host key, authorized_keys and, for an old server without strict key exchange, the only cipher it offers. Prints its port, then one line per control channel with what it counted.
"""

import asyncio
import sys

import asyncssh


async def echo(reader, writer):
    count = 0
    try:
        while data := await reader.read(65536):
            count += len(data)
            writer.write(data)
            await writer.drain()
        writer.write_eof()
        print(f'echoed {count}', flush=True)
    except asyncssh.Error as error:
        print(f'lost {type(error).__name__}', flush=True)


class Server(asyncssh.SSHServer):
    def connection_requested(self, dest_host, dest_port, orig_host, orig_port):
        if dest_host == 'alknet-control':
            return echo
        if dest_host == 'prohibited':
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, 'not for you')
        return True


async def main(host_key, authorized_keys, *ciphers):
    if ciphers:
        asyncssh.connection.SSHConnection._get_extra_kex_algs = lambda self: [b'ext-info-s']
    server = await asyncssh.listen(
        '127.0.0.1', 0, server_factory=Server, server_host_keys=[host_key], encryption_algs=ciphers or (),
        authorized_client_keys=authorized_keys, encoding=None)
    print(server.get_port(), flush=True)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
