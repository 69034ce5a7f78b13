//! TLS: how every connection is secured. TLS 1.3 only, raw Ed25519 public keys (RFC 7250) shown and proven by both sides,
//! no certificates, no resumption, no tickets, no 0-RTT, and one application protocol (ALPN) that both must name.
//!
//! After each handshake both sides call [`peer_key`] and hang up where it gives nothing.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group, sign};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, PeerMisbehaved, ServerConfig, SignatureScheme, version::TLS13,
};

use crate::id::PeerId;
use crate::identity::{Identity, PublicKey};

/// Whom a client expects at the address that it dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// This peer or tracker and nobody else.
    Peer(PeerId),
    /// Whoever answers: the caller looks at [`peer_key`] and decides.
    Anyone,
}

/// At the address that was dialled somebody else answered than was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, but {found} answered")]
pub struct UnexpectedPeer {
    /// Who was expected.
    pub expected: PeerId,
    /// Who answered.
    pub found: PeerId,
}

impl UnexpectedPeer {
    /// This, where it is what ended a handshake.
    pub fn in_error(error: &Error) -> Option<Self> {
        match error {
            Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => inner.downcast_ref().copied(),
            _ => None,
        }
    }
}

/// For the side that dials: shows `identity`'s key, accepts only whom it expects, names `alpn`.
pub fn client_config(identity: &Identity, expect: Expect, alpn: &'static [u8]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider's suites are those of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerKey { expect }))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified_key(identity))));
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Arc::new(config)
}

/// For the side that accepts: shows `identity`'s key, accepts any key that the other side proves, insists on `alpn`.
pub fn server_config(identity: &Identity, alpn: &'static [u8]) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider's suites are those of TLS 1.3")
        .with_client_cert_verifier(Arc::new(ClientKey))
        .with_cert_resolver(Arc::new(KeyUnderAlpn(AlwaysResolvesServerRawPublicKeys::new(certified_key(identity)))));
    config.alpn_protocols = vec![alpn.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

/// The key that the other side showed and proved to hold. `None` before the end of the handshake, and where no
/// application protocol was agreed on: such a connection must be closed.
pub fn peer_key(connection: &CommonState) -> Option<PublicKey> {
    if connection.is_handshaking() || connection.alpn_protocol().is_none() {
        return None;
    }
    match connection.peer_certificates()? {
        [key] => PublicKey::from_spki_der(key).ok(),
        _ => None,
    }
}

/// What rustls wants to be told as the server's name. It is not sent and not looked at: keys name peers.
pub fn server_name() -> ServerName<'static> {
    ServerName::try_from("shoal.invalid").expect("a valid DNS name")
}

/// AES-128-GCM first: it is the fastest where the processor helps, and as good as the others. The key exchange is hybrid
/// first, so that what is recorded today stays secret when X25519 alone would not.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519],
        ..aws_lc_rs::default_provider()
    })
}

/// An identity as rustls wants it.
fn certified_key(identity: &Identity) -> Arc<CertifiedKey> {
    /// DER of a PKCS #8 private key with the algorithm id-Ed25519 up to the seed itself (RFC 8410, section 7).
    const PKCS8_PREFIX: [u8; 16] =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    let pkcs8 = PrivatePkcs8KeyDer::from([PKCS8_PREFIX.as_slice(), &identity.seed()].concat());
    let key = sign::any_eddsa_type(&pkcs8).expect("any 32 bytes are an Ed25519 seed");
    Arc::new(CertifiedKey::new(vec![CertificateDer::from(identity.public_key().to_spki_der())], key))
}

/// The client's judgement of the server's key.
#[derive(Debug)]
struct ServerKey {
    expect: Expect,
}

impl ServerCertVerifier for ServerKey {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = only_key(key, rest)?.peer_id();
        match self.expect {
            Expect::Peer(expected) if expected != found => Err(other_error(UnexpectedPeer { expected, found })),
            Expect::Peer(_) | Expect::Anyone => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// The server's judgement of the client's key: any, but it must be shown and proven.
#[derive(Debug)]
struct ClientKey;

impl ClientCertVerifier for ClientKey {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        only_key(key, rest)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// The server's key for clients that name an application protocol, none for others: rustls itself refuses a wrong one
/// but lets a missing one pass.
#[derive(Debug)]
struct KeyUnderAlpn(AlwaysResolvesServerRawPublicKeys);

impl ResolvesServerCert for KeyUnderAlpn {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let _named = hello.alpn()?;
        self.0.resolve(hello)
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }
}

/// The one key that a raw public key message may hold.
fn only_key(key: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Result<PublicKey, Error> {
    if !rest.is_empty() {
        return Err(CertificateError::BadEncoding.into());
    }
    PublicKey::from_spki_der(key).map_err(other_error)
}

fn verify_signature(
    message: &[u8],
    key: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    if signature.scheme != SignatureScheme::ED25519 {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    let key = PublicKey::from_spki_der(key).map_err(other_error)?;
    match signature.signature().try_into().map(|signature| key.verify(message, signature)) {
        Ok(Ok(())) => Ok(HandshakeSignatureValid::assertion()),
        Ok(Err(_)) | Err(_) => Err(CertificateError::BadSignature.into()),
    }
}

fn other_error(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

#[cfg(test)]
mod tests;
