//! TLS 1.3 as libp2p wants it (<https://github.com/libp2p/specs/blob/master/tls/tls.md>): both sides show a self-signed
//! certificate that binds a throw-away key to the node's key.
//!
//! Uses `identity`. Must never know about sockets or streams.
//!
//! Certificates are made and checked by libp2p-tls. Ours are two decisions on top: which ciphers, and what to do when the
//! clock is evidently wrong (boards without a battery wake up in 1970, and would refuse everybody).

use std::sync::Arc;

use libp2p::{PeerId, identity};
use libp2p_tls::certificate;
use quinn_proto::crypto::{
    ClientConfig, PacketKey, ServerConfig,
    rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider,
        aws_lc_rs::{
            self,
            cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256},
        },
        verify_tls13_signature_with_raw_key,
    },
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use x509_parser::{
    asn1_rs::{FromDer, Oid, Sequence, oid},
    certificate::X509Certificate,
};

use super::identity::Keypair;

mod session;

const ALPN: &[u8] = b"libp2p";
const LIBP2P_EXTENSION: Oid<'static> = oid!(1.3.6.1.4.1.53594.1.1);
const SIGNING_PREFIX: &[u8] = b"libp2p-tls-handshake:";

/// 1 January 2026, in seconds of Unix time. A clock before it is wrong: this program is younger.
const CLOCK_FLOOR_S: u64 = 1_767_225_600;

/// Which ciphers connections may use. Two nodes that are forced to different ciphers cannot talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CipherPolicy {
    /// ChaCha20-Poly1305 if either side lacks AES instructions, else AES-256-GCM.
    #[default]
    Auto,
    /// AES-256-GCM and nothing else. Slow without AES instructions (Raspberry Pi 1 to 4).
    Aes256,
    /// ChaCha20-Poly1305 and nothing else.
    ChaCha20,
}

/// What protects the packets of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    /// AES-256-GCM.
    Aes256,
    /// ChaCha20-Poly1305.
    ChaCha20,
}

impl Cipher {
    /// The name of its suite (RFC 8446, appendix B.4).
    pub fn suite(self) -> &'static str {
        match self {
            Self::Aes256 => "TLS13_AES_256_GCM_SHA384",
            Self::ChaCha20 => "TLS13_CHACHA20_POLY1305_SHA256",
        }
    }

    /// Told by how much a key may encrypt: with ChaCha20 more than QUIC has packets (RFC 9001, section 6.6).
    fn of(key: &dyn PacketKey) -> Self {
        if key.confidentiality_limit() == u64::MAX { Self::ChaCha20 } else { Self::Aes256 }
    }
}

/// Why there is no TLS configuration.
#[derive(Debug, Error)]
pub enum TlsError {
    /// No certificate could be made.
    #[error("cannot make a TLS certificate: {0}")]
    Certificate(#[from] certificate::GenError),
    /// The TLS library refused our settings.
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] rustls::Error),
}

/// The peer has proved to be another one than the one that was dialled.
#[derive(Debug, Error)]
#[error("expected peer {expected}, found {found}")]
struct WrongPeer {
    expected: PeerId,
    found: PeerId,
}

/// What the configurations of all connections share: certificate, ciphers, verifier.
pub(crate) struct Tls {
    certificate: Arc<SingleCertAndKey>,
    provider: Arc<CryptoProvider>,
    /// Whether a server picks the first of its own ciphers, whatever the client prefers.
    ignore_client_order: bool,
}

impl Tls {
    /// With a fresh certificate for this key.
    pub(crate) fn new(keypair: &Keypair, policy: CipherPolicy) -> Result<Self, TlsError> {
        Self::with_hardware(keypair, policy, hardware_aes())
    }

    fn with_hardware(keypair: &Keypair, policy: CipherPolicy, hardware_aes: bool) -> Result<Self, TlsError> {
        let (certificate, key) = certificate::generate(keypair.as_libp2p())?;
        let signing_key = aws_lc_rs::sign::any_ecdsa_type(&key)?;
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = match policy {
            CipherPolicy::Aes256 => vec![TLS13_AES_256_GCM_SHA384],
            CipherPolicy::ChaCha20 => vec![TLS13_CHACHA20_POLY1305_SHA256],
            CipherPolicy::Auto if hardware_aes => vec![TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256],
            CipherPolicy::Auto => vec![TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_256_GCM_SHA384],
        };
        Ok(Self {
            certificate: Arc::new(CertifiedKey::new(vec![certificate], signing_key).into()),
            provider: Arc::new(provider),
            // A server with AES instructions is quick with either cipher: there the client may choose, it may be slow.
            ignore_client_order: !hardware_aes,
        })
    }

    /// For the accepting side: every peer must prove who it is, and any is welcome.
    pub(crate) fn server(&self) -> Result<Arc<dyn ServerConfig>, TlsError> {
        let config = Arc::new(self.server_config()?);
        let config = QuicServerConfig::with_initial(config, initial_suite()).expect("it is the initial suite");
        Ok(Arc::new(session::Tell(Arc::new(config))))
    }

    /// For the dialling side; with `expected`, any other peer is refused.
    pub(crate) fn client(&self, expected: Option<PeerId>) -> Result<Arc<dyn ClientConfig>, TlsError> {
        let config = Arc::new(self.client_config(expected)?);
        let config = QuicClientConfig::with_initial(config, initial_suite()).expect("it is the initial suite");
        Ok(Arc::new(session::Tell(Arc::new(config))))
    }

    fn server_config(&self) -> Result<rustls::ServerConfig, TlsError> {
        let mut config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(self.verifier(None)))
            .with_cert_resolver(self.certificate.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.ignore_client_order = self.ignore_client_order;
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn client_config(&self, expected: Option<PeerId>) -> Result<rustls::ClientConfig, TlsError> {
        let mut config = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(self.verifier(expected)))
            .with_client_cert_resolver(self.certificate.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        Ok(config)
    }

    fn verifier(&self, expected: Option<PeerId>) -> Verifier {
        Verifier { provider: self.provider.clone(), expected }
    }
}

/// QUIC's first packets are AES-128-GCM always (RFC 9001, section 5.2); data never is.
fn initial_suite() -> rustls::quic::Suite {
    TLS13_AES_128_GCM_SHA256.tls13().and_then(|suite| suite.quic_suite()).expect("aws-lc-rs has QUIC")
}

/// Whether AES is done by the processor. Never on 32-bit ARM.
fn hardware_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

/// Who showed this certificate, after a handshake has proved it.
pub(crate) fn peer_of(certificate: &CertificateDer<'_>) -> Result<PeerId, rustls::Error> {
    Ok(Binding::parse(&parse(certificate)?)?.key.to_peer_id())
}

#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    expected: Option<PeerId>,
}

impl Verifier {
    fn verify_chain(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        if !others.is_empty() {
            return Err(rustls::Error::General("libp2p wants exactly one certificate".into()));
        }
        let found = if now.as_secs() < CLOCK_FLOOR_S {
            verify_without_clock(certificate)?
        } else {
            certificate::parse(certificate).map_err(invalid)?.peer_id()
        };
        match self.expected {
            Some(expected) if expected != found => Err(invalid(WrongPeer { expected, found })),
            _ => Ok(()),
        }
    }

    fn verify_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let certificate = parse(certificate)?;
        let key = SubjectPublicKeyInfoDer::from(certificate.public_key().raw);
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.provider.signature_verification_algorithms)
    }
}

/// All that libp2p-tls checks, but for the dates: without a clock those mean nothing.
fn verify_without_clock(certificate: &CertificateDer<'_>) -> Result<PeerId, rustls::Error> {
    let certificate = parse(certificate)?;
    let unknown = |extension: &&x509_parser::extensions::X509Extension<'_>| {
        extension.critical && extension.oid != LIBP2P_EXTENSION
    };
    if certificate.extensions().iter().any(|extension| unknown(&extension)) {
        return Err(CertificateError::UnhandledCriticalExtension.into());
    }
    certificate.verify_signature(None).map_err(|_| CertificateError::BadSignature)?;
    let binding = Binding::parse(&certificate)?;
    let message = [SIGNING_PREFIX, certificate.public_key().raw].concat();
    if !binding.key.verify(&message, binding.signature) {
        return Err(CertificateError::BadSignature.into());
    }
    Ok(binding.key.to_peer_id())
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, rustls::Error> {
    match X509Certificate::from_der(certificate) {
        Ok((_, certificate)) => Ok(certificate),
        Err(_) => Err(CertificateError::BadEncoding.into()),
    }
}

fn invalid(reason: impl std::error::Error + Send + Sync + 'static) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(reason))).into()
}

/// The extension of a libp2p certificate: the node's key, and its signature of the certificate's key.
struct Binding<'a> {
    key: identity::PublicKey,
    signature: &'a [u8],
}

impl<'a> Binding<'a> {
    fn parse(certificate: &X509Certificate<'a>) -> Result<Self, rustls::Error> {
        let mut extensions = certificate.extensions().iter().filter(|extension| extension.oid == LIBP2P_EXTENSION);
        let (Some(extension), None) = (extensions.next(), extensions.next()) else {
            return Err(CertificateError::BadEncoding.into());
        };
        Self::parse_value(extension.value).ok_or_else(|| CertificateError::BadEncoding.into())
    }

    /// `SEQUENCE { publicKey OCTET STRING, signature OCTET STRING }`, the key in its protobuf.
    fn parse_value(value: &'a [u8]) -> Option<Self> {
        let (_, fields) = Sequence::from_der(value).ok()?;
        let std::borrow::Cow::Borrowed(fields) = fields.content else { return None };
        let (fields, key) = <&[u8]>::from_der(fields).ok()?;
        let (_, signature) = <&[u8]>::from_der(fields).ok()?;
        Some(Self { key: identity::PublicKey::try_decode_protobuf(key).ok()?, signature })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify_chain(certificate, others, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify_chain(certificate, others, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
