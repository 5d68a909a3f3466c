//! Nothing here: `tests/` holds our network against stock rust-libp2p.
