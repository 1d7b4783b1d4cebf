use hyper::header::HeaderName;
use proptest::prelude::*;

use super::*;

fn networks(list: &str) -> Networks {
    if list.is_empty() { Networks::default() } else { Networks::try_from(list.to_owned()).unwrap() }
}

fn walk(peer: &str, lines: &[&str], trusted: &str) -> Option<String> {
    client(peer.parse().unwrap(), lines.iter().map(|line| line.as_bytes()), &networks(trusted))
        .map(|client| client.to_string())
}

#[test]
fn client_is_the_first_untrusted_hop_from_the_right() {
    #[rustfmt::skip]
    let table: [(&str, &[&str], &str, Option<&str>); 35] = [
        // peer,            X-Forwarded-For lines,                 trusted,              client
        ("9.9.9.9",         &[],                                   "",                   Some("9.9.9.9")),
        ("9.9.9.9",         &["127.0.0.1"],                        "",                   Some("9.9.9.9")),
        ("9.9.9.9",         &["garbage"],                          "10.0.0.0/8",         Some("9.9.9.9")),
        ("::ffff:9.9.9.9",  &[],                                   "",                   Some("9.9.9.9")),
        ("10.0.0.1",        &[],                                   "10.0.0.0/8",         Some("10.0.0.1")),
        ("10.0.0.1",        &["9.9.9.9"],                          "10.0.0.0/8",         Some("9.9.9.9")),
        ("10.0.0.1",        &["127.0.0.1, 9.9.9.9"],               "10.0.0.0/8",         Some("9.9.9.9")),
        ("10.0.0.1",        &["127.0.0.1,9.9.9.9 ,\t10.0.0.2 "],   "10.0.0.0/8",         Some("9.9.9.9")),
        ("10.0.0.1",        &["127.0.0.1", "9.9.9.9", "10.0.0.2"], "10.0.0.0/8",         Some("9.9.9.9")),
        ("10.0.0.1",        &["127.0.0.1", "9.9.9.9"],             "10.0.0.1",           Some("9.9.9.9")),
        ("10.0.0.1",        &["9.9.9.9, 10.0.0.2"],                "10.0.0.1",           Some("10.0.0.2")),
        ("10.0.0.1",        &["10.0.0.3, 10.0.0.2"],               "10.0.0.0/8",         Some("10.0.0.3")),
        ("::ffff:10.0.0.1", &["9.9.9.9"],                          "10.0.0.0/8",         Some("9.9.9.9")),
        ("10.0.0.1",        &["::ffff:9.9.9.9"],                   "10.0.0.0/8",         Some("9.9.9.9")),
        ("10.0.0.1",        &["9.9.9.9, ::ffff:10.0.0.2"],         "10.0.0.0/8",         Some("9.9.9.9")),
        ("10.0.0.1",        &["9.9.9.9"],                          "::ffff:10.0.0.0/104", Some("9.9.9.9")),
        ("fd00::1",         &["2001:db8::7"],                      "fd00::/8",           Some("2001:db8::7")),
        ("10.0.0.1",        &["garbage, 9.9.9.9"],                 "10.0.0.0/8",         Some("9.9.9.9")),
        ("10.0.0.1",        &["9.9.9.9, garbage"],                 "10.0.0.0/8",         None),
        ("10.0.0.1",        &["9.9.9.9,"],                         "10.0.0.0/8",         None),
        ("10.0.0.1",        &[""],                                 "10.0.0.0/8",         None),
        ("10.0.0.1",        &["9.9.9.9:443"],                      "10.0.0.0/8",         Some("9.9.9.9")),
        ("10.0.0.1",        &["[2001:db8::7]:443"],                "10.0.0.0/8",         Some("2001:db8::7")),
        ("10.0.0.1",        &["[2001:db8::7]"],                    "10.0.0.0/8",         Some("2001:db8::7")),
        ("10.0.0.1",        &["[::ffff:9.9.9.9]:443, 10.0.0.2:1"], "10.0.0.0/8",         Some("9.9.9.9")),
        ("10.0.0.1",        &["[9.9.9.9]"],                        "10.0.0.0/8",         None),
        ("10.0.0.1",        &["[9.9.9.9]:443"],                    "10.0.0.0/8",         None),
        ("10.0.0.1",        &["9.9.9.9:"],                         "10.0.0.0/8",         None),
        ("10.0.0.1",        &["9.9.9.9:65536"],                    "10.0.0.0/8",         None),
        ("10.0.0.1",        &["[fe80::1%1]:443"],                  "10.0.0.0/8",         None),
        ("10.0.0.1",        &["9.9.9.9:443:443"],                  "10.0.0.0/8",         None),
        ("10.0.0.1",        &["\"9.9.9.9\""],                      "10.0.0.0/8",         None),
        ("10.0.0.1",        &["fe80::1%eth0"],                     "10.0.0.0/8",         None),
        ("10.0.0.1",        &["unknown"],                          "10.0.0.0/8",         None),
        ("10.0.0.1",        &["010.0.0.9"],                        "10.0.0.0/8",         None),
    ];
    for (peer, lines, trusted, expected) in table {
        assert_eq!(walk(peer, lines, trusted).as_deref(), expected, "{peer} {lines:?} {trusted}");
    }
    let not_text = [&b"\xff\xfe"[..]];
    assert_eq!(client("10.0.0.1".parse().unwrap(), not_text.into_iter(), &networks("10.0.0.0/8")), None);
}

#[test]
fn forwarding_headers_need_a_trusted_proxy_and_loopback_needs_a_direct_sender() {
    type Headers = &'static [(&'static str, &'static str)];
    type Expected = Result<(&'static str, bool), UnknownSender>;
    #[rustfmt::skip]
    let table: [(&str, Headers, Expected); 12] = [
        // peer,      headers,                                  sender, whether direct (proxies 10/8, ::1)
        ("9.9.9.9",   &[],                                      Ok(("9.9.9.9", true))),
        ("127.0.0.1", &[],                                      Ok(("127.0.0.1", true))),
        ("::ffff:127.0.0.1", &[],                               Ok(("127.0.0.1", true))),
        ("127.0.0.1", &[("x-forwarded-for", "9.9.9.9")],        Err(UnknownSender::UntrustedProxy)),
        ("127.0.0.1", &[("x-forwarded-for", "")],               Err(UnknownSender::UntrustedProxy)),
        ("9.9.9.9",   &[("forwarded", "for=127.0.0.1")],        Err(UnknownSender::UntrustedProxy)),
        ("9.9.9.9",   &[("x-real-ip", "127.0.0.1")],            Err(UnknownSender::UntrustedProxy)),
        ("10.0.0.1",  &[("x-forwarded-for", "9.9.9.9")],        Ok(("9.9.9.9", false))),
        ("10.0.0.1",  &[("x-forwarded-for", "127.0.0.1")],      Ok(("127.0.0.1", false))),
        ("10.0.0.1",  &[("x-forwarded-for", "unknown")],        Err(UnknownSender::UnreadableHop)),
        ("10.0.0.1",  &[("x-real-ip", "9.9.9.9")],              Ok(("10.0.0.1", false))),
        ("::1",       &[],                                      Ok(("::1", false))),
    ];
    let trusted = networks("10.0.0.0/8,::1");
    for (peer, headers, expected) in table {
        let headers = headers
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let found = sender(peer.parse().unwrap(), &headers, &trusted);
        let expected =
            expected.map(|(address, is_direct)| Sender { address: address.parse().unwrap(), is_direct });
        assert_eq!(found, expected, "{peer} {headers:?}");
    }
    let everywhere = Sources::try_from("loopback,127.0.0.0/8,::1,9.9.9.9".to_owned()).unwrap();
    for (address, is_direct, expected) in [
        ("127.0.0.1", true, true),
        ("127.0.0.1", false, false),
        ("::1", false, false),
        ("9.9.9.9", false, true),
        ("9.9.9.9", true, true),
    ] {
        let sender = Sender { address: address.parse().unwrap(), is_direct };
        assert_eq!(sender.is_in(&everywhere), expected, "{sender:?}");
    }
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
}

/// Lines that a client can forge: addresses, lists of addresses, and any other text.
fn lines() -> impl Strategy<Value = Vec<String>> {
    let item = prop_oneof![address().prop_map(|address| address.to_string()), any::<String>()];
    let line = prop::collection::vec(item, 0..4).prop_map(|items| items.join(","));
    prop::collection::vec(line, 0..4)
}

proptest! {
    #[test]
    fn headers_from_an_untrusted_peer_change_nothing(peer in address(), lines in lines()) {
        let trusted = networks("10.0.0.0/8,fd00::/8");
        prop_assume!(!trusted.contains(peer));
        let found = client(peer, lines.iter().map(String::as_bytes), &trusted);
        prop_assert_eq!(found, Some(peer.to_canonical()));
    }

    #[test]
    fn hops_left_of_the_client_change_nothing(real in address(), spoofed in lines(), same_line: bool) {
        let trusted = networks("10.0.0.0/8");
        prop_assume!(!trusted.contains(real));
        let mut lines = spoofed;
        match lines.last_mut() {
            Some(last) if same_line => *last = format!("{last}, {real}, 10.0.0.2"),
            _ => lines.push(format!("{real}, 10.0.0.2")),
        }
        let found = client("10.0.0.1".parse().unwrap(), lines.iter().map(String::as_bytes), &trusted);
        prop_assert_eq!(found, Some(real.to_canonical()));
    }

    #[test]
    fn client_is_the_peer_or_one_of_the_hops(lines in lines()) {
        let trusted = networks("10.0.0.0/8");
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        if let Some(found) = client(peer, lines.iter().map(String::as_bytes), &trusted) {
            let hops = lines.iter().flat_map(|line| line.split(','))
                .filter_map(|hop| hop_address(hop.as_bytes())).map(|hop| hop.to_canonical());
            prop_assert!(found == peer || hops.into_iter().any(|hop| hop == found));
        }
    }
}
