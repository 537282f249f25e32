"""An asyncssh client for the suites: does what its last argument names and prints one line of JSON.

Arguments: port, private key, host public key, action; for 'forwards' the host and port of a TCP echo server and a folder for
sockets.
"""

import asyncio
import hashlib
import json
import sys

import asyncssh


async def echo(connection, size=8 * 1024 * 1024):
    """Sends and reads at once on two channels of one session, half-closing first."""
    async def one(seed):
        reader, writer = await connection.open_connection('alknet-control', 1, encoding=None)
        data = hashlib.sha256(seed).digest() * (size // 32)

        async def send():
            for at in range(0, size, 65536):
                writer.write(data[at:at + 65536])
                await writer.drain()
            writer.write_eof()

        _, got = await asyncio.gather(send(), reader.read())
        return got == data

    return {'equal': await asyncio.gather(one(b'one'), one(b'two'))}


async def refusals(connection):
    """Asks for everything that is not offered and tells what was answered, then uses the session."""
    async def answer(attempt):
        try:
            await attempt
            return 'granted'
        except asyncssh.ChannelOpenError as error:
            return error.code
        except asyncssh.ChannelListenError:
            return 'listen refused'

    answers = {
        'shell': await answer(connection.create_process()),
        'command': await answer(connection.create_process('id')),
        'host': await answer(connection.open_connection('127.0.0.1', 9)),
        'name': await answer(connection.open_connection('alknet-other', 1)),
        'socket': await answer(connection.open_unix_connection('/tmp/x')),
        'listen': await answer(connection.forward_remote_port('127.0.0.1', 0, '127.0.0.1', 9)),
    }
    return answers | await echo(connection, 65536)


async def rekey(connection):
    return await echo(connection)


async def answers(opening):
    """Whether 1 MiB comes back, then the end, on the connection that is opening."""
    reader, writer = await opening
    data = hashlib.sha256(b'forwarded').digest() * 32768

    async def send():
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    _, got = await asyncio.gather(send(), reader.read())
    writer.close()
    return got == data


async def forwards(connection):
    """Every kind of forward, to one echo server."""
    host, port, folder = sys.argv[5], int(sys.argv[6]), sys.argv[7]
    local = await connection.forward_local_port('127.0.0.1', 0, host, port)
    remote = await connection.forward_remote_port('127.0.0.1', 0, host, port)
    near = await connection.forward_local_path_to_port(folder + '/near', host, port)
    far = await connection.forward_remote_path_to_port(folder + '/far', host, port)
    to_far = await connection.forward_local_port_to_path('127.0.0.1', 0, folder + '/far')

    def to(listener):
        return asyncio.open_connection('127.0.0.1', listener.get_port())

    result = {
        'local': await answers(to(local)),
        'remote': await answers(to(remote)),
        'socket': await answers(asyncio.open_unix_connection(folder + '/near')),
        'far socket': await answers(to(to_far)),
        'many': all(await asyncio.gather(*(answers(to(each)) for each in [local, remote] * 5))),
    }
    port_was = remote.get_port()
    for listener in (remote, far, near, local, to_far):
        listener.close()
        await listener.wait_closed()
    try:
        await asyncio.open_connection('127.0.0.1', port_was)
        return result | {'cancelled': False}
    except ConnectionRefusedError:
        return result | {'cancelled': True}


actions = {'echo': echo, 'forwards': forwards, 'refusals': refusals, 'rekey': rekey}


async def main(port, key, host_key, action, *_):
    limits = {'rekey_bytes': 1_000_000} if action == 'rekey' else {}
    known_hosts = ([asyncssh.import_public_key(host_key)], [], [])
    try:
        async with asyncssh.connect(
                '127.0.0.1', int(port), username='visitor', client_keys=[key], agent_path=None, config=None,
                known_hosts=known_hosts, **limits) as connection:
            result = await actions[action](connection)
    except asyncssh.PermissionDenied as error:
        result = {'denied': error.reason}
    print(json.dumps(result), flush=True)


asyncio.run(main(*sys.argv[1:]))
