//! `roost send` and `roost locate` against an API that answers what the test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use super::{roost, stderr, stdout};

/// Answers one request, and gives back its first line and its body.
fn answer_once(status: &'static str, body: &'static str) -> (String, JoinHandle<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut first, mut length) = (String::new(), 0);
        reader.read_line(&mut first).unwrap();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut request = vec![0; length];
        reader.read_exact(&mut request).unwrap();
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n");
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        (first.trim().to_owned(), String::from_utf8(request).unwrap())
    });
    (url, server)
}

const DELIVERED: &str = r#"{"version":1,"state":"delivered","tenant":"acme","device":"d/1","message_id":"m-1",
    "command_id":"00000001-2","gateway":"eu-1","region":"eu","attempt":1,"accepted_at":1000,"at":1012}"#;
const EXPIRED: &str = r#"{"version":1,"state":"expired","tenant":"main","device":"d1","message_id":"m-1",
    "command_id":"00000001-2","attempt":0,"accepted_at":1000,"at":2000}"#;
const PARKED: &str = r#"{"version":1,"state":"parked","tenant":"main","device":"d1","message_id":"m-1",
    "command_id":"00000001-2","attempt":0,"reason":"device_away","accepted_at":1000,"at":1000}"#;

#[test]
fn send_asks_the_api_and_prints_the_receipt() {
    let (url, server) = answer_once("200 OK", DELIVERED);
    let output = roost(&[
        "send",
        "acme/d/1",
        "--topic",
        "a/b",
        "--payload",
        "on",
        "--expires",
        "1m",
        "--wait",
        "2s",
        "--api",
        &url,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "delivered by eu-1, after 12 ms, message id m-1\n");
    let (request, body) = server.join().unwrap();
    assert_eq!(request, "POST /v1/tenants/acme/devices/d%2F1/commands?wait=2s HTTP/1.1");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let expected = serde_json::json!({"topic": "a/b", "payload": "on", "qos": 1, "expires_ms": 60_000,
        "receipts": "final", "offline": "park"});
    assert_eq!(body, expected);
}

#[test]
fn the_exit_status_says_how_a_command_ended() {
    for (status, receipt, code) in [("200 OK", EXPIRED, 2), ("202 Accepted", PARKED, 3)] {
        let (url, server) = answer_once(status, receipt);
        let output = roost(&["send", "d1", "--payload", "on", "--api", &url]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        server.join().unwrap();
    }
}

#[test]
fn json_is_passed_on_as_it_came() {
    let (url, server) = answer_once("200 OK", EXPIRED);
    let output = roost(&["send", "d1", "--payload", "on", "--api", &url, "-o", "json"]);
    assert_eq!(stdout(&output).trim(), EXPIRED);
    server.join().unwrap();
}

#[test]
fn a_refusal_says_what_to_change() {
    let problem = r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"expires_ms is 9; use 1000 or more"}"#;
    let (url, server) = answer_once("400 Bad Request", problem);
    let output = roost(&["send", "d1", "--payload", "on", "--api", &url]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "roost: expires_ms is 9; use 1000 or more (HTTP 400)\n");
    server.join().unwrap();
}

#[test]
fn an_api_that_is_not_there_is_said_with_what_to_do() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = roost(&["locate", "d1", "--api", &format!("http://{free}")]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(
        said.contains(&free.to_string()) && said.contains("roost dev") && said.contains("--api"),
        "{said}"
    );
}

#[test]
fn locate_explains() {
    let answer = r#"{"online":null,"location":null,"mailbox":{"waiting":1,"waiting_bytes":2,"outstanding":0},
        "decision":{"kind":"ask","words":"ask eu-1: it is not known which gateway holds the device"}}"#;
    let (url, server) = answer_once("200 OK", answer);
    let output = roost(&["locate", "d1", "--explain", "--api", &url]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let expected = "main/d1: not known to be at any gateway\n  \
        mailbox     1 waiting (2 bytes), 0 at a gateway\n  \
        a send now  would ask eu-1: it is not known which gateway holds the device\n";
    assert_eq!(stdout(&output), expected);
    assert_eq!(server.join().unwrap().0, "GET /v1/tenants/main/devices/d1 HTTP/1.1");
}
