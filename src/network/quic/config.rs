//! Settings of the transport, and what quinn-proto makes of them.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use libp2p::PeerId;
use quinn_proto::{
    ClientConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig, TimeSource, TransportConfig, VarInt,
};
use smol::lock::Semaphore;

use super::Error;
use crate::{
    clock,
    limits::network as limits,
    network::{
        identity::Keypair,
        tls::{CipherPolicy, Tls},
    },
};

/// What a round trip is taken for before the first answer: a lost first packet is sent again after three of these. RFC 9002
/// has 333 ms, for all the world; peers here are near, and a dial has [`Config::dial_timeout`] alone.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// The answer to a Retry is welcome for so long, or for as long as a dial takes.
const RETRY_TOKEN: Duration = Duration::from_secs(15);

/// Settings of the transport.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who we are.
    pub keypair: Keypair,
    /// Which ciphers connections may use.
    pub ciphers: CipherPolicy,
    /// A connection on which nothing arrives for so long is lost. The shorter one of both ends counts.
    pub idle_timeout: Duration,
    /// A handshake with who dials us must be over after so long.
    pub handshake_timeout: Duration,
    /// A dial is given up after so long: whoever is there answers sooner, and the others are to be tried.
    pub dial_timeout: Duration,
}

impl Config {
    /// The usual settings. Nothing keeps an idle connection but [`Watched::probe`](super::Watched::probe).
    pub fn new(keypair: Keypair) -> Self {
        Self {
            keypair,
            ciphers: CipherPolicy::Auto,
            idle_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            dial_timeout: Duration::from_secs(3),
        }
    }
}

/// The settings in quinn-proto's terms.
pub(super) struct ProtoConfig {
    pub(super) endpoint: Arc<EndpointConfig>,
    pub(super) server: Arc<ServerConfig>,
    pub(super) handshake_timeout: Duration,
    pub(super) dial_timeout: Duration,
    /// Places for connections with wide windows.
    pub(super) wide: Arc<Semaphore>,
    /// More of them, for peers that are far away.
    pub(super) far: Arc<Semaphore>,
    transport: Arc<TransportConfig>,
    tls: Tls,
}

impl ProtoConfig {
    pub(super) fn new(config: &Config) -> Result<Self, Error> {
        let tls = Tls::new(&config.keypair, config.ciphers)?;
        let transport = Arc::new(transport_config(config));
        let mut server = ServerConfig::with_crypto(tls.server()?);
        server.transport = transport.clone();
        server.migration(false);
        server.time_source(Arc::new(Uptime(clock::now())));
        // Whoever dials has the same one to the end (RFC 9000, section 17.2.5.2), and may be ignored for most of that time.
        server.retry_token_lifetime(config.dial_timeout.max(RETRY_TOKEN));
        let mut endpoint = EndpointConfig::default();
        endpoint.supported_versions(vec![1]);
        Ok(Self {
            endpoint: Arc::new(endpoint),
            server: Arc::new(server),
            handshake_timeout: config.handshake_timeout,
            dial_timeout: config.dial_timeout,
            wide: Arc::new(Semaphore::new(limits::WIDE_CONNECTIONS)),
            far: Arc::new(Semaphore::new(limits::FAR_CONNECTIONS)),
            transport,
            tls,
        })
    }

    pub(super) fn client(&self, expected: Option<PeerId>) -> Result<ClientConfig, Error> {
        let mut config = ClientConfig::new(self.tls.client(expected)?);
        config.transport_config(self.transport.clone());
        Ok(config)
    }
}

fn transport_config(config: &Config) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let longest = IdleTimeout::from(VarInt::MAX);
    transport
        .max_concurrent_bidi_streams(limits::STREAMS_PER_CONNECTION.into())
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(limits::STREAM_WINDOW_BYTES.into())
        .receive_window(limits::CONNECTION_WINDOW_BYTES.into())
        .send_window(limits::SEND_WINDOW_BYTES)
        .crypto_buffer_size(limits::CRYPTO_BUFFER_BYTES)
        .max_idle_timeout(Some(IdleTimeout::try_from(config.idle_timeout).unwrap_or(longest)))
        .mtu_discovery_config(Some(MtuDiscoveryConfig::default()))
        .initial_rtt(INITIAL_RTT)
        .allow_spin(false);
    transport
}

/// Retry tokens age by this clock: the wall clock may jump while one is on its way.
struct Uptime(Instant);

impl TimeSource for Uptime {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + (clock::now() - self.0)
    }
}
