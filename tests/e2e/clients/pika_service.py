"""A microservice on pika: one connection in a thread of its own, as pika wants it."""

import base64
import datetime
import threading

import pika

from lines import Refused, closed, say, serve

PATIENCE_S = 60

connection = None
publishing = None


def text(value):
    """What JSON can tell of a header."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, datetime.datetime):
        return int(value.replace(tzinfo=datetime.timezone.utc).timestamp())
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    return str(value)


def on_message(channel, method, properties, body):
    channel.basic_ack(method.delivery_tag)
    say(event={
        "exchange": method.exchange,
        "key": method.routing_key,
        "body": base64.b64encode(body).decode(),
        "message_id": properties.message_id,
        "correlation_id": properties.correlation_id,
        "headers": {name: text(value) for name, value in (properties.headers or {}).items()},
    })


def run():
    try:
        while True:
            connection.process_data_events(time_limit=1)
    except Exception as error:
        closed(f"{type(error).__name__}: {error}")


def on_connection(work):
    """Does work in the connection's own thread, the only one that may touch it."""
    done = threading.Event()
    result = {}

    def call():
        try:
            result["value"] = work()
        except Exception as error:
            result["error"] = error
        done.set()

    connection.add_callback_threadsafe(call)
    if not done.wait(PATIENCE_S):
        raise Refused("the broker does not answer")
    if "error" in result:
        raise result["error"]
    return result["value"]


def connect(request):
    global connection, publishing
    connection = pika.BlockingConnection(pika.URLParameters(request["uri"]))
    publishing = connection.channel()
    publishing.confirm_delivery()
    threading.Thread(target=run, daemon=True).start()


def consume(request):
    def work():
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True, auto_delete=True).method.queue
        channel.queue_bind(queue, request["exchange"], request["pattern"])
        channel.basic_consume(queue, on_message)

    on_connection(work)


def publish(request):
    expiration = request["expiration_ms"]
    properties = pika.BasicProperties(
        message_id=request["message_id"],
        expiration=None if expiration is None else str(expiration),
        delivery_mode=2 if request["persistent"] else 1,
        headers=request["headers"],
    )
    body = base64.b64decode(request["body"])
    # Raises when the broker does not confirm.
    on_connection(lambda: publishing.basic_publish(request["exchange"], request["key"], body, properties))


serve({"connect": connect, "consume": consume, "publish": publish})
