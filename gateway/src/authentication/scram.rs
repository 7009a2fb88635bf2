//! SCRAM-SHA-256: a password is shown without being said, and the server shows that it knows it too [RFC 5802, RFC 7677].
//!
//! ```text
//!  client ──n,,n=user,r=c──────────────────> CONNECT, or AUTH 0x19     AwaitsFirst
//!         <─r=cs,s=salt,i=iterations──────── AUTH 0x18                 AwaitsFinal
//!         ──c=biws,r=cs,p=proof────────────> AUTH 0x18
//!         <─v=signature───────────────────── CONNACK, or AUTH 0x00     Over
//! ```
//!
//! What a server keeps of a password is a [`Verifier`]: it lets nobody log in as a client, only stand in for this server. Checking a client
//! takes two HMACs and one hash, some microseconds: the iterations are the client's work. So it is done on the shard's thread.

mod message;
mod users;
mod verifier;

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

pub use users::{LineError, Users, UsersError};
pub use verifier::{PasswordError, Verifier, VerifierError};

use self::message::{Binding, ClientFinal, ClientFirst};
use super::{NonceSeed, Refusal, Step, UserName};

/// The name of the method: that of the SASL mechanism [MQTT5 §4.12].
pub(crate) const NAME: &str = "SCRAM-SHA-256";

/// `v=` and 32 bytes in base64.
pub(crate) const SERVER_FINAL_BYTES: usize = 46;

/// 192 bits, 32 characters of base64: RFC 5802 asks for enough that no two are the same; 128 bits would be.
const NONCE_BYTES: usize = 24;

/// The users of a listener, and what an exchange with one of them needs besides.
#[derive(Debug)]
pub struct Scram {
    users: Users,
    /// What the verifiers of the users look like from outside, in the order of their names.
    shapes: Vec<Shape>,
    secret: ServerSecret,
}

/// What a client is told of a verifier.
#[derive(Debug, Clone, Copy)]
struct Shape {
    iterations: u32,
    salt_bytes: usize,
}

/// What a process knows and nobody else: nonces and the salts of users that there are not are made of it. Draw it from the system's
/// generator at each start; two processes never share one.
#[derive(Clone)]
pub struct ServerSecret(hmac::Key);

/// The server's side of one exchange: two messages of the client, in this order, and then it is over.
#[derive(Debug)]
pub(crate) struct Exchange {
    scram: Arc<Scram>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The client has said nothing.
    AwaitsFirst {
        /// The server's part of the nonce.
        nonce: String,
    },
    /// The client is asked for its proof.
    AwaitsFinal(Box<Challenge>),
    /// Whatever comes is refused.
    Over,
}

/// What the client was asked, and how to tell whether the answer is right.
#[derive(Debug)]
struct Challenge {
    user: UserName,
    verifier: Verifier,
    /// Otherwise the verifier is made up, and no answer is right.
    is_user: bool,
    gs2_header: String,
    nonce: String,
    /// Both first messages, each with a comma behind it: what is signed, but for the client's final message.
    signed: String,
}

impl Scram {
    /// Users, with the secret of this process.
    #[must_use]
    pub fn new(users: Users, secret: ServerSecret) -> Self {
        let shape = |verifier: &Verifier| Shape {
            iterations: verifier.iterations(),
            salt_bytes: verifier.salt().len(),
        };
        let shapes = users.verifiers().map(shape).collect();
        Self { users, shapes, secret }
    }

    /// The server's part of a nonce. The secret has 256 random bits, and no two exchanges of a process have the same seed, so nobody can
    /// tell such nonces from ones that were drawn one by one: that is what HMAC is, a pseudorandom function [RFC 2104, NIST SP 800-90A].
    pub(crate) fn server_nonce(&self, seed: NonceSeed) -> String {
        let exchange = seed.exchange.to_be_bytes();
        let random = self.secret.derive(b"nonce", &[&exchange, &seed.entropy.to_be_bytes()]);
        STANDARD.encode(&random[..NONCE_BYTES])
    }

    /// The user's verifier, or one that nobody has; and which of the two it is. The second one is stable for as long as the process runs,
    /// and its salt and iterations look like those of some user, so that who asks does not learn which names there are. It is made in
    /// either case: it takes the same time.
    fn verifier(&self, user: &UserName) -> (Verifier, bool) {
        let made_up = self.made_up(user);
        match self.users.verifier(user) {
            Some(verifier) => (verifier.clone(), true),
            None => (made_up, false),
        }
    }

    fn made_up(&self, user: &UserName) -> Verifier {
        let derive = |label| self.secret.derive(label, &[user.as_str().as_bytes()]);
        let draw = u64::from_be_bytes(derive(b"shape")[..8].try_into().expect("8 bytes are 8 bytes"));
        let like = draw.checked_rem(self.shapes.len() as u64).and_then(|at| self.shapes.get(at as usize));
        let Shape { iterations, salt_bytes } = like
            .copied()
            .unwrap_or(Shape { iterations: Verifier::ITERATIONS_MIN, salt_bytes: Verifier::SALT_BYTES });
        let salt = [derive(b"salt, first half"), derive(b"salt, second half")].concat();
        Verifier::made_up(
            iterations,
            &salt[..salt_bytes.min(salt.len())],
            [b"keys", &b"pair"[..]].map(derive),
        )
    }
}

impl ServerSecret {
    /// Takes 256 random bits.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &random))
    }

    /// Bytes for one purpose, of parts whose lengths are fixed but for the last.
    fn derive(&self, purpose: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(purpose);
        // No purpose holds it: none is the beginning of another one's input.
        context.update(&[0]);
        parts.iter().for_each(|part| context.update(part));
        verifier::bytes_of(context.sign())
    }
}

impl fmt::Debug for ServerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerSecret(…)")
    }
}

impl Exchange {
    /// An exchange in which nothing was said. No nonce is used twice.
    pub(crate) fn new(scram: Arc<Scram>, server_nonce: String) -> Self {
        Self { scram, state: State::AwaitsFirst { nonce: server_nonce } }
    }

    /// Takes in the client's next message.
    pub(crate) fn handle(&mut self, message: &[u8]) -> Step {
        match std::mem::replace(&mut self.state, State::Over) {
            State::AwaitsFirst { nonce } => self.first(&nonce, message),
            State::AwaitsFinal(challenge) => challenge.answered(message),
            State::Over => refused(Refusal::Malformed("the exchange is over"), None),
        }
    }

    fn first(&mut self, server_nonce: &str, message: &[u8]) -> Step {
        let first = match ClientFirst::parse(message) {
            Ok(first) => first,
            Err(what) => return refused(Refusal::Malformed(what), None),
        };
        // A server that could bind refuses `y`; this one cannot, and the client is right [RFC 5802 §6].
        match first.binding {
            Binding::None | Binding::NotOffered => {}
            Binding::Wanted => return refused(Refusal::ChannelBinding, None),
        }
        let Ok(user) = UserName::parse(&first.user) else {
            return refused(Refusal::Malformed("the user name is empty, too long or not for SASLprep"), None);
        };
        // Nobody may act as another.
        let is_own = |name: &String| UserName::parse(name).is_ok_and(|name| name == user);
        if !first.authorization.as_ref().is_none_or(is_own) {
            return refused(Refusal::OtherIdentity, Some(user));
        }
        let (verifier, is_user) = self.scram.verifier(&user);
        let nonce = format!("{}{server_nonce}", first.nonce);
        let salt = STANDARD.encode(verifier.salt());
        let server_first = format!("r={nonce},s={salt},i={}", verifier.iterations());
        let signed = format!("{},{server_first},", first.bare);
        let gs2_header = first.gs2_header.to_owned();
        self.state =
            State::AwaitsFinal(Box::new(Challenge { user, verifier, is_user, gs2_header, nonce, signed }));
        Step::Continue(server_first.into_bytes())
    }
}

impl Challenge {
    fn answered(self, message: &[u8]) -> Step {
        let last = match ClientFinal::parse(message) {
            Ok(last) => last,
            Err(what) => return refused(Refusal::Malformed(what), Some(self.user)),
        };
        if last.channel_binding != self.gs2_header.as_bytes() {
            let what = "c= does not say the gs2 header of the first message";
            return refused(Refusal::Malformed(what), Some(self.user));
        }
        if last.nonce != self.nonce {
            return refused(Refusal::Malformed("the nonce is not this exchange's"), Some(self.user));
        }
        let signed = self.signed + last.without_proof;
        let is_right = self.verifier.is_proven_by(signed.as_bytes(), &last.proof);
        match (self.is_user, is_right) {
            (true, true) => {
                let signature = STANDARD.encode(self.verifier.server_signature(signed.as_bytes()));
                Step::Done { user: self.user, last: format!("v={signature}").into_bytes() }
            }
            (true, false) => refused(Refusal::WrongPassword, Some(self.user)),
            (false, _) => refused(Refusal::UnknownUser, Some(self.user)),
        }
    }
}

const fn refused(refusal: Refusal, user: Option<UserName>) -> Step {
    Step::Refused { refusal, user }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677 §3.
    const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn scram() -> Arc<Scram> {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = Verifier::of_password("pencil", &salt, 4_096).unwrap();
        let users = Users::parse(&format!("user:{}\nother=,:{}\n", verifier.to_text(), verifier.to_text()));
        Arc::new(Scram::new(users.unwrap(), ServerSecret::new([7; 32])))
    }

    fn exchange() -> Exchange {
        Exchange::new(scram(), SERVER_NONCE.to_owned())
    }

    fn asks(exchange: &mut Exchange, first: &str) -> String {
        match exchange.handle(first.as_bytes()) {
            Step::Continue(data) => String::from_utf8(data).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn refuses(exchange: &mut Exchange, message: &str) -> (Refusal, Option<String>) {
        match exchange.handle(message.as_bytes()) {
            Step::Refused { refusal, user } => (refusal, user.map(|user| user.as_str().to_owned())),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_example_of_rfc_7677_holds() {
        let mut exchange = exchange();
        assert_eq!(asks(&mut exchange, FIRST), SERVER_FIRST);
        let Step::Done { user, last } = exchange.handle(FINAL.as_bytes()) else { panic!("it is right") };
        assert_eq!((user.as_str(), last.as_slice()), ("user", SERVER_FINAL.as_bytes()));
        assert_eq!(last.len(), SERVER_FINAL_BYTES);
        assert_eq!(refuses(&mut exchange, FINAL), (Refusal::Malformed("the exchange is over"), None));
    }

    #[test]
    fn a_first_message_is_refused_for_its_reason() {
        for (message, expected) in [
            ("p=tls-exporter,,n=user,r=abc", Refusal::ChannelBinding),
            ("n,a=admin,n=user,r=abc", Refusal::OtherIdentity),
        ] {
            assert_eq!(refuses(&mut exchange(), message).0, expected, "{message}");
        }
        for message in ["", "n,,n=,r=abc", "n,,n=\u{AD},r=abc", "n,,n=\u{7},r=abc", "n,,m=x,n=user,r=abc"] {
            assert!(matches!(refuses(&mut exchange(), message).0, Refusal::Malformed(_)), "{message:?}");
        }
        for message in
            ["y,,n=user,r=abc", "n,a=user,n=user,r=abc", "n,,n=us\u{AD}er,r=abc", "n,,n=nobody,r=abc"]
        {
            asks(&mut exchange(), message);
        }
        asks(&mut exchange(), "n,a=other=3D=2C,n=other=3D=2C,r=abc");
    }

    #[test]
    fn a_final_message_that_does_not_fit_is_refused() {
        let wrong_proof = FINAL.replace("p=dHzb", "p=dHzc");
        for (message, is_malformed) in [
            (wrong_proof.as_str(), false),
            // `y,,` instead of `n,,`: somebody between the two has changed the header.
            (&FINAL.replace("biws", "eSws"), true),
            (&FINAL.replace("biws", "biwsYQ=="), true),
            (&FINAL.replace("$k0", "$k1"), true),
            (&FINAL.replace("r=rOprNGfwEbeRWgbNEkqO%", "r=%"), true),
            // It is signed as well.
            (&FINAL.replace(",p=", ",x=1,p="), false),
            (FIRST, true),
        ] {
            let mut exchange = exchange();
            asks(&mut exchange, FIRST);
            let (refusal, user) = refuses(&mut exchange, message);
            let expected = if is_malformed { "Malformed" } else { "WrongPassword" };
            assert!(format!("{refusal:?}").starts_with(expected), "{message}: {refusal:?}");
            assert_eq!(user.as_deref(), Some("user"));
            assert!(matches!(refuses(&mut exchange, FINAL).0, Refusal::Malformed(_)), "there is one try");
        }
    }

    #[test]
    fn a_name_that_nobody_has_looks_like_one_that_somebody_has() {
        let first = |name: &str, scram: &Arc<Scram>| {
            let mut exchange = Exchange::new(Arc::clone(scram), SERVER_NONCE.to_owned());
            (asks(&mut exchange, &format!("n,,n={name},r=abc")), exchange)
        };
        let scram = scram();
        let (asked, mut exchange) = first("nobody", &scram);
        assert_eq!(first("nobody", &scram).0, asked, "the salt is stable");
        assert_ne!(first("nemo", &scram).0, asked);
        let salt = asked.split(",s=").nth(1).unwrap().split_once(",i=").unwrap();
        assert_eq!((STANDARD.decode(salt.0).unwrap().len(), salt.1), (16, "4096"));
        let message = format!("c=biws,r=abc{SERVER_NONCE},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let (refusal, _) = refuses(&mut exchange, &message);
        assert_eq!((refusal, refusal.text()), (Refusal::UnknownUser, Refusal::WrongPassword.text()));
        let elsewhere = Users::parse("").unwrap();
        let elsewhere = Arc::new(Scram::new(elsewhere, ServerSecret::new([8; 32])));
        assert_ne!(first("nobody", &elsewhere).0, asked, "another process makes up another one");
    }

    #[test]
    fn no_two_nonces_are_the_same() {
        let scram = scram();
        let nonce = |exchange, entropy| scram.server_nonce(NonceSeed { exchange, entropy });
        let nonces = [nonce(1, 1), nonce(1, 2), nonce(2, 1), nonce(2, 2)];
        for (at, nonce) in nonces.iter().enumerate() {
            assert!(nonce.len() == 32 && !nonce.contains([',', '=']), "{nonce}");
            assert!(!nonces[..at].contains(nonce));
        }
    }

    #[test]
    fn nothing_that_prints_tells_a_key() {
        let scram = scram();
        let mut exchange = exchange();
        asks(&mut exchange, FIRST);
        let printed = format!("{scram:?} {exchange:?}");
        let verifier = scram.users.verifier(&UserName::parse("user").unwrap()).unwrap().to_text();
        let keys = verifier.rsplit_once('$').unwrap().1;
        for key in keys.split(':') {
            assert!(!printed.contains(key), "{printed}");
        }
        assert!(!printed.contains("[7"), "{printed}");
        assert!(printed.contains("Verifier(…)") && printed.contains("ServerSecret(…)"), "{printed}");
    }
}
