//! The PROXY protocol, versions 1 and 2 (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>).
//!
//! A load balancer that forwards connections sends a header before the first byte of a connection. The header
//! holds the address of the client.
//!
//! Invariant: no byte after the header is read, so that TLS or HTTP begins where the header ends.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// First bytes of a header of version 2.
pub(super) const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// First bytes of a header of version 1.
pub(super) const V1_PREFIX: &[u8] = b"PROXY ";
/// Longest header of version 1 in bytes, including the line end.
const MAX_LINE: usize = 107;
/// Largest accepted size of addresses and further fields in version 2. Addresses need at most 36 bytes; the rest is for
/// further fields, such as a certificate.
const MAX_FIELDS: usize = 4096;

/// Selects the peers that send a header of the PROXY protocol with every connection. By default no peer is
/// selected.
#[derive(Clone, Default)]
pub struct ProxyProtocol(Option<Arc<dyn Fn(IpAddr) -> bool + Send + Sync>>);

impl ProxyProtocol {
    /// Expects a header from the peers for which `sends_header` returns true. The address in the header replaces
    /// the address of the peer. A connection without a header is refused.
    pub fn expected_from(sends_header: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(sends_header)))
    }

    /// Whether a header is expected from `peer`.
    pub(super) fn is_expected_from(&self, peer: IpAddr) -> bool {
        self.0.as_ref().is_some_and(|sends_header| sends_header(peer.to_canonical()))
    }
}

impl fmt::Debug for ProxyProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProxyProtocol").field(&self.0.is_some()).finish()
    }
}

/// The origin of a connection according to its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The client's address.
    Client(SocketAddr),
    /// The load balancer opened the connection for itself, or does not know the client.
    Peer,
}

/// Why the header could not be read.
#[derive(Debug)]
pub(super) enum HeaderError {
    /// The connection does not begin with a header.
    Missing,
    /// The header does not follow the protocol.
    Malformed,
    /// The connection ended or failed before the header was complete.
    Io(io::Error),
}

impl From<io::Error> for HeaderError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads the header at the start of a connection.
pub(super) async fn read<S: AsyncRead + Unpin>(socket: &mut S) -> Result<Origin, HeaderError> {
    let mut start = [0; V2_SIGNATURE.len()];
    socket.read_exact(&mut start).await?;
    if start == V2_SIGNATURE {
        let mut head = [0; 4];
        socket.read_exact(&mut head).await?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if length > MAX_FIELDS {
            return Err(HeaderError::Malformed);
        }
        let mut fields = vec![0; length];
        socket.read_exact(&mut fields).await?;
        return parse_binary(head[0], head[1], &fields).ok_or(HeaderError::Malformed);
    }
    if !start.starts_with(V1_PREFIX) {
        return Err(HeaderError::Missing);
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\n") {
        if line.len() == MAX_LINE {
            return Err(HeaderError::Malformed);
        }
        line.push(socket.read_u8().await?);
    }
    parse_text(&line).ok_or(HeaderError::Malformed)
}

/// Parses version 1: `PROXY TCP4 <client> <server> <port> <port>`, or `PROXY UNKNOWN` and anything.
fn parse_text(line: &[u8]) -> Option<Origin> {
    let line = str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?;
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Origin::Peer);
    }
    let (client, _server): (IpAddr, IpAddr) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (port, _): (u16, u16) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let expected = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    (family == expected && words.next().is_none()).then(|| Origin::Client(SocketAddr::new(client, port)))
}

/// Parses version 2: command, family and transport, then the addresses. Further fields are ignored.
fn parse_binary(version_and_command: u8, family: u8, fields: &[u8]) -> Option<Origin> {
    const IPV4: u8 = 0x11;
    const IPV6: u8 = 0x21;
    match (version_and_command, family) {
        // A health check of the load balancer, or a client without an internet address, such as one of a Unix socket.
        (0x20, _) | (0x21, 0x00 | 0x31 | 0x32) => Some(Origin::Peer),
        (0x21, IPV4) => {
            let (addresses, _) = fields.split_first_chunk::<12>()?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
            let client = Ipv4Addr::new(a, b, c, d);
            Some(Origin::Client(SocketAddr::new(client.into(), u16::from_be_bytes([high, low]))))
        }
        (0x21, IPV6) => {
            let (client, rest) = fields.split_first_chunk::<16>()?;
            let (_server, rest) = rest.split_first_chunk::<16>()?;
            let (ports, _) = rest.split_first_chunk::<4>()?;
            let port = u16::from_be_bytes([ports[0], ports[1]]);
            Some(Origin::Client(SocketAddr::new(Ipv6Addr::from(*client).into(), port)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parsed(header: &[u8]) -> Result<(Origin, String), String> {
        let bytes = [header, b"GET / HTTP/1.1\r\n"].concat();
        let mut rest = &bytes[..];
        match read(&mut rest).await {
            Ok(origin) => Ok((origin, String::from_utf8_lossy(rest).into_owned())),
            Err(HeaderError::Io(error)) => Err(error.kind().to_string()),
            Err(error) => Err(format!("{error:?}")),
        }
    }

    fn v2(command: u8, family: u8, fields: &[u8]) -> Vec<u8> {
        let length = u16::try_from(fields.len()).unwrap().to_be_bytes();
        [&V2_SIGNATURE[..], &[command, family], &length, fields].concat()
    }

    #[tokio::test]
    async fn each_header_yields_its_origin_and_no_byte_after_it_is_read() {
        let client = |text: &str| Ok(Origin::Client(text.parse().unwrap()));
        let (peer, wrong, none) = (Ok(Origin::Peer), Err("Malformed"), Err("Missing"));
        let v4 = [192, 0, 2, 1, 10, 0, 0, 1, 0x13, 0x88, 0x01, 0xBB];
        let mut v6 = [0; 36];
        (v6[0], v6[15], v6[32], v6[33]) = (0x20, 0x01, 0x13, 0x88); // 2000::1, port 5000
        let with_fields = [&v4[..], b"\x04\x00\x03abc"].concat();
        #[rustfmt::skip]
        let table: [(&[u8], Result<Origin, &str>); 20] = [
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 5000 443\r\n",     client("192.0.2.1:5000")),
            (b"PROXY TCP6 2001:db8::1 ::1 5000 443\r\n",        client("[2001:db8::1]:5000")),
            (b"PROXY UNKNOWN\r\n",                              peer),
            (b"PROXY UNKNOWN ffff:f::1 ::1 65535 65535\r\n",    peer),
            (b"PROXY TCP4 2001:db8::1 ::1 5000 443\r\n",        wrong),
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 5000\r\n",         wrong),
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 5000 99999\r\n",   wrong),
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 5000 443 1\r\n",   wrong),
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 5000 443\n",       wrong),
            (b"PROXY TCP4  192.0.2.1 10.0.0.1 5000 443\r\n",    wrong),
            (&[b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 107]].concat(), wrong),
            (b"proxy TCP4 192.0.2.1 10.0.0.1 5000 443\r\n",     none),
            (b"",                                               none),
            (&v2(0x21, 0x11, &v4),                              client("192.0.2.1:5000")),
            (&v2(0x21, 0x11, &with_fields),                     client("192.0.2.1:5000")),
            (&v2(0x21, 0x21, &v6),                              client("[2000::1]:5000")),
            (&v2(0x20, 0x00, b""),                              peer),
            (&v2(0x21, 0x00, b""),                              peer),
            (&v2(0x21, 0x11, &v4[..11]),                        wrong),
            (&v2(0x31, 0x11, &v4),                              wrong),
        ];
        for (header, expected) in table {
            let found = parsed(header).await;
            let expected = expected.map(|origin| (origin, "GET / HTTP/1.1\r\n".to_owned()));
            assert_eq!(found, expected.map_err(str::to_owned), "{}", header.escape_ascii());
        }
        let cut = &v2(0x21, 0x11, &v4)[..20];
        assert!(matches!(read(&mut &cut[..]).await, Err(HeaderError::Io(_))));
        assert_eq!(parsed(&v2(0x21, 0x11, &[0; 5000])).await, Err("Malformed".to_owned()));
    }
}
