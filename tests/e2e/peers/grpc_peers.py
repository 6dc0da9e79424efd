"""A gRPC service and its client, for the gateway between them.

    grpc_peers.py server                      serves on a free port and prints it
    grpc_peers.py client HOST:PORT FOLDER     asks everything over mutual TLS and prints "ok" per case
"""

import sys
import threading
import time
from concurrent import futures
from pathlib import Path

import grpc

SERVICE = "portcullis.Test"
cancelled = threading.Event()


def unary(request, context):
    fields = {key for key, _ in context.invocation_metadata()}
    if request == b"identity":
        return b"known" if "x-forwarded-client-cert" in fields else b"unknown"
    if request == b"slow":
        context.add_callback(cancelled.set)
        while context.is_active():
            time.sleep(0.01)
        return b""
    if request == b"was cancelled":
        return b"yes" if cancelled.wait(5) else b"no"
    if request == b"bad":
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not that")
    context.set_trailing_metadata((("x-end", "here"),))
    return request


def server_stream(request, context):
    if request == b"endless":
        cancelled.clear()
        context.add_callback(cancelled.set)
        while context.is_active():
            yield b"more"
        return
    for number in range(int(request)):
        yield str(number).encode()


def client_stream(requests, context):
    return str(sum(len(request) for request in requests)).encode()


def bidi(requests, context):
    for request in requests:
        yield request[::-1]


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "Bidi": grpc.stream_stream_rpc_method_handler(bidi),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()


def expect(name, condition):
    if not condition:
        sys.exit(f"{name}: failed")
    print("ok", name, flush=True)


def fails(name, code, call):
    try:
        call()
    except grpc.RpcError as error:
        expect(name, error.code() == code)
        return error
    sys.exit(f"{name}: no error")


def ping_pong(channel):
    """Each message is sent only after the answer to the one before."""
    turn = threading.Semaphore(1)

    def requests():
        for number in range(200):
            turn.acquire()
            yield f"ping {number}".encode()

    answers = 0
    for answer in channel.stream_stream(f"/{SERVICE}/Bidi")(requests(), timeout=30):
        if answer != f"ping {answers}".encode()[::-1]:
            return False
        answers += 1
        turn.release()
    return answers == 200


def ask(address, folder):
    read = lambda name: Path(folder, name).read_bytes()
    credentials = grpc.ssl_channel_credentials(read("roots.pem"), read("client.key"), read("client.pem"))
    channel = grpc.secure_channel(address, credentials)
    unary = channel.unary_unary(f"/{SERVICE}/Unary")
    stream = channel.unary_stream(f"/{SERVICE}/ServerStream")
    upload = channel.stream_unary(f"/{SERVICE}/ClientStream")

    answer, call = unary.with_call(b"hello", timeout=10)
    expect("unary", answer == b"hello")
    expect("trailing metadata", ("x-end", "here") in [tuple(pair) for pair in call.trailing_metadata()])
    expect("identity", unary(b"identity", timeout=10) == b"known")
    expect("large", unary(b"x" * 3_000_000, timeout=30) == b"x" * 3_000_000)
    expect("server streaming", [int(item) for item in stream(b"1000", timeout=30)] == list(range(1000)))
    expect("client streaming", upload((b"x" * 1000 for _ in range(1000)), timeout=30) == b"1000000")
    expect("bidi streaming", ping_pong(channel))
    error = fails("trailers-only error", grpc.StatusCode.INVALID_ARGUMENT, lambda: unary(b"bad", timeout=10))
    expect("its message", error.details() == "not that")
    fails("unknown method", grpc.StatusCode.UNIMPLEMENTED, lambda: channel.unary_unary(f"/{SERVICE}/None")(b"", timeout=10))
    fails("deadline", grpc.StatusCode.DEADLINE_EXCEEDED, lambda: unary(b"slow", timeout=0.5))
    expect("the service learns of it", unary(b"was cancelled", timeout=10) == b"yes")
    endless = stream(b"endless", timeout=30)
    for _ in range(10):
        next(endless)
    endless.cancel()
    fails("cancel", grpc.StatusCode.CANCELLED, lambda: [item for item in endless])
    expect("the service learns of that, too", unary(b"was cancelled", timeout=10) == b"yes")
    channel.close()


if sys.argv[1] == "server":
    serve()
else:
    ask(*sys.argv[2:])
