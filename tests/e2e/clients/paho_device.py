"""A device on paho-mqtt, MQTT 5."""

import base64
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from lines import Refused, closed, say, serve

PATIENCE_S = 60

client = None
connected = threading.Event()
acknowledged = threading.Condition()
answers = {}  # message id: reason code of the SUBACK or PUBACK
outcome = {}


def on_connect(_client, _userdata, flags, reason, _properties):
    outcome["reason"] = reason
    outcome["session_present"] = flags.session_present
    connected.set()


def on_disconnect(_client, _userdata, _flags, reason, _properties):
    if outcome.get("reason") is not None and not outcome["reason"].is_failure:
        closed(reason, reason.value)


def on_message(_client, _userdata, message):
    properties = getattr(message.properties, "UserProperty", [])
    say(event={
        "topic": message.topic,
        "payload": base64.b64encode(message.payload).decode(),
        "qos": message.qos,
        "duplicate": bool(message.dup),
        "user_properties": [list(pair) for pair in properties],
    })


def answer(mid, reason):
    with acknowledged:
        answers[mid] = reason
        acknowledged.notify_all()


def await_answer(mid):
    with acknowledged:
        if not acknowledged.wait_for(lambda: mid in answers, PATIENCE_S):
            raise Refused("no acknowledgement")
        reason = answers.pop(mid)
    if reason.is_failure:
        raise Refused(str(reason), reason.value)


def connect(request):
    global client
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, request["id"], protocol=mqtt.MQTTv5, reconnect_on_failure=False)
    client.on_connect, client.on_disconnect, client.on_message = on_connect, on_disconnect, on_message
    client.on_subscribe = lambda _c, _u, mid, reasons, _p: answer(mid, reasons[0])
    client.on_publish = lambda _c, _u, mid, reason, _p: answer(mid, reason)
    properties = Properties(PacketTypes.CONNECT)
    if request["persistent"]:
        properties.SessionExpiryInterval = 3600
    client.connect(
        "127.0.0.1",
        request["port"],
        keepalive=request["keep_alive_s"],
        clean_start=not request["persistent"],
        properties=properties,
    )
    client.loop_start()
    if not connected.wait(PATIENCE_S):
        raise Refused("no CONNACK")
    if outcome["reason"].is_failure:
        raise Refused(str(outcome["reason"]), outcome["reason"].value)
    return {"session_present": outcome["session_present"]}


def subscribe(request):
    _, mid = client.subscribe(request["filter"], request["qos"])
    await_answer(mid)


def publish(request):
    info = client.publish(request["topic"], base64.b64decode(request["payload"]), request["qos"])
    await_answer(info.mid)  # for QoS 0 paho says so when it is written


def disconnect(_request):
    client.disconnect()


serve({"connect": connect, "subscribe": subscribe, "publish": publish, "disconnect": disconnect})
