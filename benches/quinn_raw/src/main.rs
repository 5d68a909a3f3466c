//! The QUIC limit: quinn with stock settings, one stream, file -> file.
//! quinn_raw serve IP:PORT FILE | quinn_raw get IP:PORT OUT [--b3] [--sync] [--window MiB]
use std::{
    fs::File,
    io::{Read, Write},
    sync::Arc,
    time::Duration,
};
type R<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Debug)]
struct NoCheck(Arc<rustls::crypto::CryptoProvider>);
impl rustls::client::danger::ServerCertVerifier for NoCheck {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        m: &[u8],
        c: &rustls::pki_types::CertificateDer<'_>,
        d: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(m, c, d, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        m: &[u8],
        c: &rustls::pki_types::CertificateDer<'_>,
        d: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(m, c, d, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn transport(window_mib: u32) -> quinn::TransportConfig {
    let mut t = quinn::TransportConfig::default();
    t.max_idle_timeout(Some(Duration::from_secs(20).try_into().unwrap()));
    if window_mib > 0 {
        t.stream_receive_window((window_mib << 20).into())
            .receive_window((window_mib << 20).into())
            .send_window((window_mib as u64) << 20);
    }
    t
}

#[tokio::main]
async fn main() -> R<()> {
    let a: Vec<String> = std::env::args().collect();
    let b3 = a.iter().any(|x| x == "--b3");
    let win: u32 = a.iter().position(|x| x == "--window").map(|i| a[i + 1].parse().unwrap()).unwrap_or(0);
    let addr: std::net::SocketAddr = a[2].parse()?;
    rustls::crypto::ring::default_provider().install_default().ok();
    if a[1] == "serve" {
        let ck = rcgen::generate_simple_self_signed(vec!["a".into()])?;
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(ck.key_pair.serialize_der());
        let mut sc = quinn::ServerConfig::with_single_cert(vec![ck.cert.der().clone()], key.into())?;
        sc.transport_config(Arc::new(transport(win)));
        let ep = quinn::Endpoint::server(sc, addr)?;
        println!("ready");
        while let Some(inc) = ep.accept().await {
            let path = a[3].clone();
            tokio::spawn(async move {
                let c = inc.await?;
                let mut s = c.accept_uni().await?;
                let _ = s.read_to_end(16).await?;
                let mut out = c.open_uni().await?;
                let mut f = File::open(path)?;
                let mut buf = vec![0u8; 256 << 10];
                loop {
                    let n = f.read(&mut buf)?;
                    if n == 0 {
                        break;
                    }
                    out.write_all(&buf[..n]).await?;
                }
                out.finish()?;
                c.closed().await;
                R::Ok(())
            });
        }
    } else {
        let prov = rustls::crypto::CryptoProvider::get_default().unwrap().clone();
        let tls = rustls::ClientConfig::builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(NoCheck(prov)))
            .with_no_client_auth();
        let mut cc = quinn::ClientConfig::new(Arc::new(quinn::crypto::rustls::QuicClientConfig::try_from(tls)?));
        cc.transport_config(Arc::new(transport(win)));
        let mut ep = quinn::Endpoint::client("0.0.0.0:0".parse()?)?;
        ep.set_default_client_config(cc);
        let c = ep.connect(addr, "a")?.await?;
        let mut s = c.open_uni().await?;
        s.write_all(b"get").await?;
        s.finish()?;
        let mut r = c.accept_uni().await?;
        let mut f = File::create(&a[3])?;
        let mut h = blake3::Hasher::new();
        let mut n = 0u64;
        while let Some(ch) = r.read_chunk(1 << 20, true).await? {
            f.write_all(&ch.bytes)?;
            if b3 {
                h.update(&ch.bytes);
            }
            n += ch.bytes.len() as u64;
        }
        if a.iter().any(|x| x == "--sync") {
            f.sync_data()?
        }
        println!(
            "{n} {} lost={} mtu={}",
            if b3 { h.finalize().to_string() } else { "-".into() },
            c.stats().path.lost_packets,
            c.stats().path.current_mtu
        );
        c.close(0u32.into(), b"");
        ep.wait_idle().await;
    }
    Ok(())
}
