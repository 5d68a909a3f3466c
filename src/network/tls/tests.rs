use super::*;

const IN_1970: UnixTime = UnixTime::since_unix_epoch(std::time::Duration::from_secs(60));

fn certificate(keypair: &Keypair) -> CertificateDer<'static> {
    certificate::generate(keypair.as_libp2p()).unwrap().0
}

fn verifier(expected: Option<PeerId>) -> Verifier {
    Tls::new(&Keypair::generate(), CipherPolicy::Auto).unwrap().verifier(expected)
}

#[test]
fn a_clock_at_1970_refuses_nobody() {
    let keypair = Keypair::generate();
    let peer = keypair.as_libp2p().public().to_peer_id();
    let certificate = certificate(&keypair);
    for now in [IN_1970, UnixTime::now()] {
        verifier(Some(peer)).verify_chain(&certificate, &[], now).unwrap();
        verifier(None).verify_chain(&certificate, &[], now).unwrap();
    }
    assert_eq!(peer_of(&certificate).unwrap(), peer);
}

#[test]
fn another_peer_is_refused_with_and_without_clock() {
    let certificate = certificate(&Keypair::generate());
    let expected = Keypair::generate().as_libp2p().public().to_peer_id();
    for now in [IN_1970, UnixTime::now()] {
        let error = verifier(Some(expected)).verify_chain(&certificate, &[], now).unwrap_err().to_string();
        assert!(error.contains(&expected.to_string()), "{error}");
    }
}

#[test]
fn damage_is_found_with_and_without_clock() {
    let good = certificate(&Keypair::generate());
    let signed = X509Certificate::from_der(&good).unwrap().1.tbs_certificate.as_ref().len();
    let passes = |now| {
        let mut passing = Vec::new();
        for at in 0..good.len() {
            let mut bytes = good.to_vec();
            bytes[at] ^= 1;
            if verifier(None).verify_chain(&CertificateDer::from(bytes), &[], now).is_ok() {
                passing.push(at);
            }
        }
        passing
    };
    // What follows the signed part repeats the name of the algorithm, for nobody.
    let (with, without) = (passes(UnixTime::now()), passes(IN_1970));
    assert!(without.iter().all(|at| with.contains(at)), "{with:?} {without:?}");
    assert!(with.iter().all(|at| *at > signed), "{with:?}");
    assert!(verifier(None).verify_chain(&good, std::slice::from_ref(&good), IN_1970).is_err());
}

#[test]
fn a_borrowed_extension_proves_nothing() {
    // A certificate for one key that shows the extension of another.
    let [mut ours, theirs] = [0, 1].map(|_| certificate(&Keypair::generate()).to_vec());
    let value = |bytes: &[u8]| {
        let certificate = X509Certificate::from_der(bytes).unwrap().1;
        let extension = certificate.extensions().iter().find(|it| it.oid == LIBP2P_EXTENSION).unwrap();
        let start = extension.value.as_ptr() as usize - bytes.as_ptr() as usize;
        start..start + extension.value.len()
    };
    let (to, from) = (value(&ours), value(&theirs));
    ours[to].copy_from_slice(&theirs[from]);
    for now in [IN_1970, UnixTime::now()] {
        assert!(verifier(None).verify_chain(&CertificateDer::from(ours.clone()), &[], now).is_err());
    }
}

/// The cipher that a client and a server agree on, each with or without AES instructions.
fn agreed(client: (CipherPolicy, bool), server: (CipherPolicy, bool)) -> Option<rustls::CipherSuite> {
    use rustls::quic::{ClientConnection, Connection, ServerConnection, Version};
    let [client, server] =
        [client, server].map(|(policy, aes)| Tls::with_hardware(&Keypair::generate(), policy, aes).unwrap());
    let (client, server) = (Arc::new(client.client_config(None).unwrap()), Arc::new(server.server_config().unwrap()));
    let name = ServerName::try_from("l").unwrap();
    let mut from: Connection = ClientConnection::new(client, Version::V1, name, Vec::new()).unwrap().into();
    let mut to: Connection = ServerConnection::new(server, Version::V1, Vec::new()).unwrap().into();
    while from.is_handshaking() || to.is_handshaking() {
        // Ends a part wherever the keys change.
        let mut more = true;
        while more {
            let mut part = Vec::new();
            more = from.write_hs(&mut part).is_some();
            to.read_hs(&part).ok()?;
        }
        std::mem::swap(&mut from, &mut to);
    }
    assert_eq!(from.alpn_protocol(), Some(ALPN));
    from.negotiated_cipher_suite().map(|suite| suite.suite())
}

#[test]
fn the_side_without_aes_decides() {
    use CipherPolicy::{Aes256, Auto, ChaCha20};
    use rustls::CipherSuite::{TLS13_AES_256_GCM_SHA384 as AES, TLS13_CHACHA20_POLY1305_SHA256 as CHACHA};
    for (client, server, cipher) in [
        ((Auto, true), (Auto, true), Some(AES)),
        ((Auto, true), (Auto, false), Some(CHACHA)),
        ((Auto, false), (Auto, true), Some(CHACHA)),
        ((Auto, false), (Auto, false), Some(CHACHA)),
        ((Aes256, false), (Auto, false), Some(AES)),
        ((Auto, false), (Aes256, false), Some(AES)),
        ((Auto, true), (ChaCha20, true), Some(CHACHA)),
        ((Aes256, true), (ChaCha20, true), None),
    ] {
        assert_eq!(agreed(client, server), cipher, "{client:?} {server:?}");
    }
}
