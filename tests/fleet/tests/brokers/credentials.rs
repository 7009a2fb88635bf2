//! What devices say of themselves: to mosquitto with a password file, and to a broker that verifies their tokens.

use std::collections::HashSet;
use std::process::Command;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use ring::{hmac, rand, signature};
use roost_fleet::shell::{Options, run};
use roost_fleet::{Action, Backoff, Credentials, Reconnect, Step, Tokens};
use roost_gateway::packet::{Ack, Connack, Packet, ReasonCode};
use roost_harness::ReservedPort;

use crate::fake_broker::{broker, politely};
use crate::measured::{options, plan, until_counted};
use crate::mosquitto::{mosquitto, program};

/// A password file of mosquitto, and the lines that make a listener ask for it.
fn password_file(directory: &std::path::Path, pairs: &[(String, String)]) -> String {
    let file = directory.join("passwords");
    let lines: String = pairs.iter().map(|(user, password)| format!("{user}:{password}\n")).collect();
    std::fs::write(&file, lines).unwrap();
    let hashed = program("ROOST_TEST_MOSQUITTO_PASSWD").arg("-U").arg(&file).status().unwrap();
    assert!(hashed.success());
    format!("allow_anonymous false\npassword_file {}\n", file.display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_device_is_let_in_with_its_own_password_and_none_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let port = ReservedPort::any();
    let pairs: Vec<(String, String)> = (0..10).map(|n| (format!("user-{n}"), format!("hush,{n}"))).collect();
    let lines = password_file(directory.path(), &pairs);
    let _server = mosquitto(directory.path(), &port, &lines).await;
    let plan = plan(port.number());
    let rows =
        pairs.iter().enumerate().map(|(n, (user, password))| format!("d{n:06},{user},\"{password}\"\n"));
    let csv = format!("client_id,user,password\n{}", rows.collect::<String>());
    let mut options = options(plan, "lost=0,online_max=10,echo.rate=50");
    options.credentials = Credentials::read_csv(csv.as_bytes(), &options.plan).unwrap();
    let summary = run(&options, std::future::pending(), |_| {}).await.unwrap();
    assert!(summary.passed(), "{summary}");
    let told = format!("{summary}{summary:?}{}{options:?}", serde_json::to_string(&summary).unwrap());
    assert!(!told.contains("hush") && !told.contains("user-"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_as_the_reason_of_the_refusal() {
    let directory = tempfile::tempdir().unwrap();
    let port = ReservedPort::any();
    let lines = password_file(directory.path(), &[("u".to_owned(), "right".to_owned())]);
    let _server = mosquitto(directory.path(), &port, &lines).await;
    let mut options = options(plan(port.number()), "online_max=0,connects_refused>0");
    options.credentials =
        Credentials::Pattern { user_name: "u".to_owned(), password: Some("wrong".to_owned()) };
    let summary = until_counted(&options, "connects_refused").await;
    assert!(summary.passed(), "{summary}");
    let reason = "NotAuthorized (0x87)";
    assert!(summary.remarks.iter().any(|remark| remark.contains(reason)), "{summary}");
}

/// What verifies a signature.
type Verify = Box<dyn Fn(&[u8], &[u8]) -> bool + Send + Sync>;

/// Lets in whoever has a token for its client id that it has not seen before, and acknowledges everything. Returns what was
/// wrong with tokens, and all tokens.
async fn verifying(options: &mut Options, algorithm: &'static str, verify: Verify) -> Arc<Mutex<Seen>> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let noted = Arc::clone(&seen);
    let answers = move |packet: &Packet| match packet {
        Packet::Connect(connect) => {
            let mut seen = noted.lock().unwrap();
            let password =
                connect.password.as_ref().map(|secret| secret.expose().to_vec()).unwrap_or_default();
            let token = String::from_utf8(password).unwrap();
            let problem = problem(&token, connect.client_id.as_str(), algorithm, &verify);
            let reason = if problem.is_some() { ReasonCode::NotAuthorized } else { ReasonCode::Success };
            seen.problems.extend(problem);
            seen.tokens.push(token);
            vec![Packet::Connack(Connack { reason, ..Connack::default() })]
        }
        Packet::Publish(publish) => {
            vec![Packet::Puback(Ack::success(publish.delivery.packet_id().unwrap())), packet.clone()]
        }
        _ => politely(packet),
    };
    options.plan.brokers = vec![broker(answers).await];
    seen
}

#[derive(Default)]
struct Seen {
    problems: Vec<String>,
    tokens: Vec<String>,
}

fn problem(token: &str, client_id: &str, algorithm: &str, verify: &Verify) -> Option<String> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let read = |part: &str| -> serde_json::Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let (header, claims) = (read(header), read(claims));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let (from, until) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    let good = [
        header["alg"] == algorithm,
        claims["sub"] == client_id,
        claims["aud"] == "fleet",
        claims["iss"] == "tests",
        from <= now && now < until && until - from == 60,
        verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()),
    ];
    (!good.iter().all(|good| *good)).then(|| format!("{good:?}: {header} {claims}"))
}

async fn tokens_pass(key: Vec<u8>, algorithm: &'static str, verify: Verify) {
    // What was on its way to a device when it was cut is lost with its session: nothing is said of that here.
    let mut options = options(plan(1), "connects=20,connects_refused=0,echoes_received>0");
    // Each device connects a second time, a second later: to another token.
    options.plan.duration_ms = 3_000;
    options.plan.scenario.steps = vec![Step { at_ms: 1_500, share: 1.0, action: Action::Cut }];
    options.plan.reconnect = Reconnect { backoff: Backoff::None, spread_ms: 0 };
    let (audience, issuer) = (Some("fleet".to_owned()), Some("tests".to_owned()));
    let tokens = Tokens { key: key.clone(), ttl_s: 60, audience, issuer };
    options.credentials = Credentials::Tokens { user_name: "{device}".to_owned(), tokens };
    let seen = verifying(&mut options, algorithm, verify).await;
    let summary = run(&options, std::future::pending(), |_| {}).await.unwrap();
    let seen = seen.lock().unwrap();
    assert!(summary.passed(), "{algorithm}: {summary}\n{:?}", seen.problems);
    let different: HashSet<&String> = seen.tokens.iter().collect();
    assert_eq!((seen.problems.len(), seen.tokens.len(), different.len()), (0, 20, 20));
    let told = format!("{summary:?}{options:?}");
    assert!(!told.contains(&seen.tokens[0]) && !told.contains(&format!("{key:?}")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_signs_hs256() {
    let secret = b"a secret of thirty-two characters".to_vec();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
    tokens_pass(secret, "HS256", Box::new(move |signed, tag| hmac::verify(&key, signed, tag).is_ok())).await;
}

/// A private key in PEM, as OpenSSL makes it.
fn openssl(algorithm: &[&str]) -> Vec<u8> {
    let made = Command::new("openssl").arg("genpkey").args(algorithm).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

fn pkcs8(pem: &[u8]) -> Vec<u8> {
    use rustls_pki_types::pem::PemObject;
    rustls_pki_types::PrivatePkcs8KeyDer::from_pem_slice(pem).unwrap().secret_pkcs8_der().to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_an_elliptic_curve_signs_es256() {
    use signature::KeyPair;
    let pem = openssl(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let random = rand::SystemRandom::new();
    let pair = signature::EcdsaKeyPair::from_pkcs8(
        &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        &pkcs8(&pem),
        &random,
    );
    let public =
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.unwrap().public_key().as_ref().to_vec());
    tokens_pass(pem, "ES256", Box::new(move |signed, by| public.verify(signed, by).is_ok())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_rsa_key_signs_rs256() {
    use signature::KeyPair;
    let pem = openssl(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let pair = signature::RsaKeyPair::from_pkcs8(&pkcs8(&pem)).unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref().to_vec());
    tokens_pass(pem, "RS256", Box::new(move |signed, by| public.verify(signed, by).is_ok())).await;
}
