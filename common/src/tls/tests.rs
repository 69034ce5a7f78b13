//! Tests of TLS: two connections in memory, one of them hostile in most.

use std::io::{Read as _, Write as _};

use data_encoding::HEXLOWER;
use rustls::client::ResolvesClientCert;
use rustls::{AlertDescription, CipherSuite, ClientConnection, HandshakeKind, NamedGroup, ServerConnection};

use super::*;

const ALPN: &[u8] = b"shoal-test/1";
const OTHER_ALPN: &[u8] = b"shoal-test/2";

/// `openssl req -x509 -key K -subj /CN=shoal` with an Ed25519 key K, and the seed of K.
const X509: &str = "\
308201363081e9a00302010202144bcd3112910d0911e6409b7afd87d466f031e7fc300506032b65703010310e300c06035504030c0573686f61\
6c3020170d3236313132313133323131325a180f32313236313032383133323131325a3010310e300c06035504030c0573686f616c302a300506\
032b6570032100c2962d2737fa33aaeef2314a6b1eeb3cf43cbfba895821aaa15461c87c95566da3533051301d0603551d0e041604147292a776\
caae0c45d510a69be6e16a39d680af03301f0603551d230418301680147292a776caae0c45d510a69be6e16a39d680af03300f0603551d130101\
ff040530030101ff300506032b6570034100b460da390727e45863a3b715c67401fc4ce1b7aa2f2a8ad7402f725b594489032f8ecbe506fa18f9\
dc998b3442b90ce41e6ccac84eb1e9d1afb63d768412b808";
const X509_SEED: &str = "7b5a64d63c20ba096666a54fee9620f5a8a75976fe4ce0c590fc199d539462d7";

fn client() -> Identity {
    Identity::from_seed(&[1; 32])
}

fn server() -> Identity {
    Identity::from_seed(&[2; 32])
}

fn good_client() -> Arc<ClientConfig> {
    client_config(&client(), Expect::Peer(server().peer_id()), ALPN)
}

fn good_server() -> Arc<ServerConfig> {
    server_config(&server(), ALPN)
}

/// Two ends of a connection after all has been said, and the error that ended each, if one did.
struct Ends {
    client: ClientConnection,
    client_error: Option<Error>,
    server: ServerConnection,
    server_error: Option<Error>,
}

fn connect(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Ends {
    let mut ends = Ends {
        client: ClientConnection::new(Arc::clone(client), server_name()).unwrap(),
        client_error: None,
        server: ServerConnection::new(Arc::clone(server)).unwrap(),
        server_error: None,
    };
    ends.settle();
    ends
}

impl Ends {
    /// Carries bytes to and fro until neither has any, alerts too.
    fn settle(&mut self) {
        loop {
            let mut to_server = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut to_server).unwrap();
            }
            let mut to_client = Vec::new();
            while self.server.wants_write() {
                self.server.write_tls(&mut to_client).unwrap();
            }
            if to_server.is_empty() && to_client.is_empty() {
                return;
            }
            let (mut to_server, mut to_client) = (to_server.as_slice(), to_client.as_slice());
            while !to_server.is_empty() && self.server_error.is_none() {
                self.server.read_tls(&mut to_server).unwrap();
                self.server_error = self.server.process_new_packets().err();
            }
            while !to_client.is_empty() && self.client_error.is_none() {
                self.client.read_tls(&mut to_client).unwrap();
                self.client_error = self.client.process_new_packets().err();
            }
        }
    }

    fn client_refused(self) -> Error {
        assert_eq!(peer_key(&self.client), None);
        assert_eq!(peer_key(&self.server), None);
        let error = self.client_error.expect("the client refuses");
        assert!(!matches!(error, Error::AlertReceived(_)), "{error}");
        assert!(matches!(self.server_error, Some(Error::AlertReceived(_))));
        error
    }

    fn server_refused(self) -> Error {
        assert_eq!(peer_key(&self.server), None);
        let error = self.server_error.expect("the server refuses");
        assert!(!matches!(error, Error::AlertReceived(_)), "{error}");
        assert!(matches!(self.client_error, Some(Error::AlertReceived(_))));
        error
    }
}

fn hostile_client(key: Arc<dyn ResolvesClientCert>) -> Arc<ClientConfig> {
    let mut config = ClientConfig::clone(&good_client());
    config.client_auth_cert_resolver = key;
    Arc::new(config)
}

fn hostile_server(key: Arc<dyn ResolvesServerCert>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::clone(&good_server());
    config.cert_resolver = key;
    Arc::new(config)
}

/// Shows these bytes, and signs with that identity's key.
fn shown(certificates: &[&[u8]], signer: &Identity) -> Arc<CertifiedKey> {
    let mut key = CertifiedKey::clone(&certified_key(signer));
    key.cert = certificates.iter().map(|bytes| CertificateDer::from(bytes.to_vec())).collect();
    Arc::new(key)
}

fn x509() -> (Vec<u8>, Identity) {
    let seed = HEXLOWER.decode(X509_SEED.as_bytes()).unwrap().try_into().unwrap();
    let certificate = HEXLOWER.decode(X509.as_bytes()).unwrap();
    let identity = Identity::from_seed(&seed);
    let key = identity.public_key().0;
    assert!(certificate.windows(key.len()).any(|window| window == key), "the certificate is of this key");
    (certificate, identity)
}

/// Shows a certificate in the ordinary way, without a word of raw keys.
#[derive(Debug)]
struct Certificate(Arc<CertifiedKey>);

impl ResolvesClientCert for Certificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// Promises a raw key and has none.
#[derive(Debug)]
struct NoKey;

impl ResolvesClientCert for NoKey {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[test]
fn each_side_sees_the_others_key_and_words() {
    for expect in [Expect::Peer(server().peer_id()), Expect::Anyone] {
        let mut ends = connect(&client_config(&client(), expect, ALPN), &good_server());
        assert_eq!((&ends.client_error, &ends.server_error), (&None, &None));
        assert_eq!(peer_key(&ends.client), Some(server().public_key()));
        assert_eq!(peer_key(&ends.server), Some(client().public_key()));
        assert_eq!(ends.client.alpn_protocol(), Some(ALPN));
        ends.client.writer().write_all(b"ask").unwrap();
        ends.server.writer().write_all(b"say").unwrap();
        ends.settle();
        let mut words = [0; 3];
        ends.server.reader().read_exact(&mut words).unwrap();
        assert_eq!(&words, b"ask");
        ends.client.reader().read_exact(&mut words).unwrap();
        assert_eq!(&words, b"say");
    }
}

#[test]
fn the_fast_suite_and_the_hybrid_exchange_are_agreed_on() {
    let ends = connect(&good_client(), &good_server());
    assert_eq!(ends.client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let suite = ends.client.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, CipherSuite::TLS13_AES_128_GCM_SHA256);
    let group = ends.client.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
}

#[test]
fn nothing_is_resumed() {
    let (client, server) = (good_client(), good_server());
    for _ in 0..2 {
        let ends = connect(&client, &server);
        assert_eq!(ends.client.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(ends.client.tls13_tickets_received(), 0);
    }
    assert!(!server.session_storage.can_cache() && !server.ticketer.enabled());
    assert!(!client.enable_early_data && server.max_early_data_size == 0);
}

#[test]
fn before_the_end_of_the_handshake_there_is_no_key() {
    let client = ClientConnection::new(good_client(), server_name()).unwrap();
    assert_eq!(peer_key(&client), None);
}

#[test]
fn another_server_than_expected_is_refused_and_named() {
    let expected = Identity::from_seed(&[3; 32]).peer_id();
    let error = connect(&client_config(&client(), Expect::Peer(expected), ALPN), &good_server()).client_refused();
    assert_eq!(UnexpectedPeer::in_error(&error), Some(UnexpectedPeer { expected, found: server().peer_id() }));
    assert_eq!(UnexpectedPeer::in_error(&Error::DecryptError), None);
}

#[test]
fn a_client_without_a_key_is_refused() {
    let silent = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerKey { expect: Expect::Anyone }))
        .with_no_client_auth();
    let mut silent = silent;
    silent.alpn_protocols = vec![ALPN.to_vec()];
    connect(&Arc::new(silent), &good_server()).server_refused();
    let error = connect(&hostile_client(Arc::new(NoKey)), &good_server()).server_refused();
    assert_eq!(error, Error::NoCertificatesPresented);
}

#[test]
fn a_key_without_its_signature_is_refused() {
    let victim = Identity::from_seed(&[3; 32]);
    let stolen = shown(&[&victim.public_key().to_spki_der()], &client());
    let bad_signature = Error::from(CertificateError::BadSignature);

    let thief = hostile_client(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&stolen))));
    assert_eq!(connect(&thief, &good_server()).server_refused(), bad_signature);

    let thief = hostile_server(Arc::new(AlwaysResolvesServerRawPublicKeys::new(stolen)));
    for expect in [Expect::Peer(victim.peer_id()), Expect::Anyone] {
        let error = connect(&client_config(&client(), expect, ALPN), &thief).client_refused();
        assert_eq!(error, bad_signature);
    }
}

#[test]
fn certificates_are_refused() {
    let (certificate, identity) = x509();
    let key = shown(&[&certificate], &identity);
    let certified = hostile_client(Arc::new(Certificate(Arc::clone(&key))));
    connect(&certified, &good_server()).server_refused();
    let anyone = client_config(&client(), Expect::Anyone, ALPN);
    let certified = hostile_server(Arc::new(Certificate(Arc::clone(&key))));
    connect(&anyone, &certified).server_refused();
}

#[test]
fn certificates_that_are_called_raw_keys_are_refused() {
    let (certificate, identity) = x509();
    let key = shown(&[&certificate], &identity);
    let disguised = hostile_client(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&key))));
    connect(&disguised, &good_server()).server_refused();
    for expect in [Expect::Peer(identity.peer_id()), Expect::Anyone] {
        let disguised = hostile_server(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&key))));
        connect(&client_config(&client(), expect, ALPN), &disguised).client_refused();
    }
}

#[test]
fn more_than_one_key_is_refused() {
    let (one, two) = (client().public_key().to_spki_der(), server().public_key().to_spki_der());
    let several = hostile_client(Arc::new(AlwaysResolvesClientRawPublicKeys::new(shown(&[&one, &two], &client()))));
    connect(&several, &good_server()).server_refused();
    let several = hostile_server(Arc::new(AlwaysResolvesServerRawPublicKeys::new(shown(&[&two, &one], &server()))));
    connect(&good_client(), &several).client_refused();
}

#[test]
fn without_the_application_protocol_there_is_no_connection() {
    let no_match = Error::NoApplicationProtocol;
    let other = client_config(&client(), Expect::Anyone, OTHER_ALPN);
    assert_eq!(connect(&other, &good_server()).server_refused(), no_match);

    let mut missing = ClientConfig::clone(&good_client());
    missing.alpn_protocols.clear();
    let ends = connect(&Arc::new(missing), &good_server());
    assert_eq!(ends.client_error, Some(Error::AlertReceived(AlertDescription::AccessDenied)));
    ends.server_refused();

    // A server that names none gets through rustls, but gives no key.
    let mut missing = ServerConfig::clone(&good_server());
    missing.alpn_protocols.clear();
    let ends = connect(&good_client(), &Arc::new(missing));
    assert!(!ends.client.is_handshaking() && ends.client.peer_certificates().is_some());
    assert_eq!(peer_key(&ends.client), None);
}

/// A handshake record that TLS 1.2 knows.
fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len() + 4).unwrap();
    let body_length = u8::try_from(body.len()).unwrap();
    [&[0x16, 3, 1, 0, length, kind, 0, 0, body_length], body].concat()
}

#[test]
fn tls_1_2_is_refused_by_both_sides() {
    // Version, random, no session; ECDHE-ECDSA with AES-128-GCM, no compression; signatures by Ed25519 and ECDSA, groups
    // X25519 and P-256.
    let extensions = [0, 0x0d, 0, 6, 0, 4, 8, 7, 4, 3, 0, 0x0a, 0, 6, 0, 4, 0, 0x1d, 0, 0x17];
    let hello = [&[3, 3], [5; 32].as_slice(), &[0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 20], &extensions].concat();
    let mut old_hello = record(1, &hello);
    let mut server = ServerConnection::new(good_server()).unwrap();
    server.read_tls(&mut old_hello.as_slice()).unwrap();
    let error = server.process_new_packets().unwrap_err();
    assert!(matches!(error, Error::PeerIncompatible(_)), "{error}");

    let chosen = [&[3, 3], [6; 32].as_slice(), &[0, 0xc0, 0x2b, 0, 0, 0]].concat();
    old_hello = record(2, &chosen);
    let mut client = ClientConnection::new(good_client(), server_name()).unwrap();
    client.write_tls(&mut Vec::new()).unwrap();
    client.read_tls(&mut old_hello.as_slice()).unwrap();
    let error = client.process_new_packets().unwrap_err();
    assert!(matches!(error, Error::PeerIncompatible(_)), "{error}");
}
