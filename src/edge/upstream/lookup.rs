//! Where a name leads, and for how long that may be believed.
//!
//! Two are asked at once. The system's resolver reads all that the machine's owner has set up
//! (`/etc/hosts`, `nsswitch.conf`), but tells no lifetime; DNS tells it (TTL: RFC 1035, section 3.2.1), but
//! knows only part of that. Where both name an address in common the name stands in DNS, and DNS is
//! believed for as long as it says. Else the system is, for a few seconds.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolveHosts;
use hickory_resolver::net::NetError;

/// How long the system's word is good.
pub(super) const UNSAID: Duration = Duration::from_secs(5);
/// A record without a lifetime (0) is not asked for with every request.
const LEAST: Duration = Duration::from_secs(1);
/// A lifetime is at most this long, whatever a record says: weeks would be a slip of the pen.
const MOST: Duration = Duration::from_hours(24);
/// For one question to one name server. The system's answer waits for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where a name leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Sorted, each once: a resolver that turns its answers around changes nothing. Never empty.
    pub(super) addresses: Vec<SocketAddr>,
    /// For how long.
    pub(super) lifetime: Duration,
}

/// Looks `name` up.
///
/// # Errors
/// What the system says where neither of the two knows the name.
pub(super) async fn look_up(name: &str, port: u16) -> Result<Answer, String> {
    let (system, dns) = tokio::join!(ask_system(name, port), ask_dns_of_system(name));
    judge(system, dns, port)
}

/// Which of the two answers counts.
fn judge(
    system: Result<Vec<IpAddr>, String>,
    dns: Option<(Vec<IpAddr>, Duration)>,
    port: u16,
) -> Result<Answer, String> {
    let (addresses, lifetime) = match (system, dns) {
        (Ok(system), Some((dns, lifetime)))
            if dns.iter().any(|address| system.contains(address)) =>
        {
            (dns, lifetime.clamp(LEAST, MOST))
        }
        (Ok(system), _) => (system, UNSAID),
        (Err(_), Some((dns, lifetime))) => (dns, lifetime.clamp(LEAST, MOST)),
        (Err(reason), None) => return Err(reason),
    };
    let each = addresses.into_iter();
    let mut addresses: Vec<_> = each.map(|address| SocketAddr::new(address, port)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(Answer {
        addresses,
        lifetime,
    })
}

async fn ask_system(name: &str, port: u16) -> Result<Vec<IpAddr>, String> {
    match tokio::net::lookup_host((name, port)).await {
        Ok(found) => {
            let addresses: Vec<_> = found.map(|address| address.ip()).collect();
            if addresses.is_empty() {
                return Err("it has no address".to_owned());
            }
            Ok(addresses)
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Asks the name servers that `/etc/resolv.conf` names at the moment; `None` where they don't know, or
/// there are none.
async fn ask_dns_of_system(name: &str) -> Option<(Vec<IpAddr>, Duration)> {
    let mut builder = TokioResolver::builder_tokio().ok()?;
    let options = builder.options_mut();
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = PATIENCE;
    options.attempts = 0;
    // We remember ourselves, for as long as an answer lives.
    options.cache_size = 0;
    // That there is no such record is said by the system, in better words.
    ask_dns(&builder.build().ok()?, name).await.ok()
}

/// Every address of `name`, and the shortest lifetime among the records that led there.
async fn ask_dns(dns: &TokioResolver, name: &str) -> Result<(Vec<IpAddr>, Duration), NetError> {
    let found = dns.lookup_ip(name).await?;
    let records = found.as_lookup().answers();
    let shortest = records.iter().map(|record| record.ttl).min();
    let lifetime = Duration::from_secs(shortest.unwrap_or(0).into());
    Ok((found.iter().collect(), lifetime))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::UdpSocket;
    use std::process::{Child, Command, Stdio};

    use hickory_resolver::config::{NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use tokio::time::sleep;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn dns_is_believed_where_the_system_agrees_and_the_system_where_not() {
        let second = Duration::from_secs;
        let unknown = || Err("unknown".to_owned());
        let a = || vec![ip("10.0.0.1")];
        let ab = || vec![ip("10.0.0.2"), ip("10.0.0.1"), ip("10.0.0.2")];
        let c = || vec![ip("10.0.0.3")];
        // system, DNS, addresses and lifetime, why
        let cases = [
            (
                Ok(a()),
                Some((a(), second(300))),
                Some(("1", second(300))),
                "both",
            ),
            (
                Ok(a()),
                Some((ab(), second(60))),
                Some(("12", second(60))),
                "a choice out of more",
            ),
            (
                Ok(c()),
                Some((a(), second(60))),
                Some(("3", UNSAID)),
                "/etc/hosts says otherwise",
            ),
            (Ok(ab()), None, Some(("12", UNSAID)), "DNS does not know it"),
            (
                unknown(),
                Some((a(), second(60))),
                Some(("1", second(60))),
                "only DNS",
            ),
            (
                Ok(a()),
                Some((a(), second(0))),
                Some(("1", LEAST)),
                "no lifetime",
            ),
            (
                Ok(a()),
                Some((a(), MOST * 30)),
                Some(("1", MOST)),
                "a month",
            ),
            (unknown(), None, None, "nobody"),
        ];
        for (system, dns, expected, why) in cases {
            let answer = judge(system, dns, 80).ok();
            let found = answer.map(|answer| {
                let last = |address: &SocketAddr| address.ip().to_string().pop().unwrap();
                let last: String = answer.addresses.iter().map(last).collect();
                (last, answer.lifetime)
            });
            let expected = expected.map(|(last, lifetime)| (last.to_owned(), lifetime));
            assert_eq!(found, expected, "{why}");
        }
    }

    #[tokio::test]
    async fn a_name_of_the_system_alone_is_believed_for_a_while() {
        let found = look_up("localhost", 80).await.unwrap();
        let expected = "127.0.0.1:80".parse().unwrap();
        assert!(found.addresses.contains(&expected), "{found:?}");
        look_up("nowhere.invalid", 80).await.unwrap_err();
    }

    /// dnsmasq, which knows what `records` say and nothing else.
    struct NameServer {
        process: Child,
        port: u16,
    }

    impl NameServer {
        /// Starts it and waits until it answers for `name`.
        async fn knowing(records: &str, name: &str) -> Self {
            loop {
                let mut server = Self::start(records);
                while server.process.try_wait().unwrap().is_none() {
                    // It says to nobody that it is there.
                    if ask_dns(&server.resolver(), name).await.is_ok() {
                        return server;
                    }
                    sleep(Duration::from_millis(20)).await;
                }
                // Somebody else was given the port meanwhile.
            }
        }

        fn start(records: &str) -> Self {
            let port = UdpSocket::bind("127.0.0.1:0")
                .and_then(|socket| socket.local_addr())
                .unwrap()
                .port();
            let mut process = Command::new("dnsmasq")
                .args(["--keep-in-foreground", "--conf-file=-"])
                .stdin(Stdio::piped())
                .spawn()
                .expect("dnsmasq is installed (script/install test)");
            let config = format!(
                "port={port}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\nuser=\n\
                 pid-file=\n{records}"
            );
            let mut stdin = process.stdin.take().unwrap();
            stdin.write_all(config.as_bytes()).unwrap();
            Self { process, port }
        }

        fn resolver(&self) -> TokioResolver {
            let mut at = NameServerConfig::udp_and_tcp(ip("127.0.0.1"));
            for connection in &mut at.connections {
                connection.port = self.port;
            }
            let config = ResolverConfig::from_name_servers(vec![at]);
            let provider = TokioRuntimeProvider::default();
            let mut builder = TokioResolver::builder_with_config(config, provider);
            builder.options_mut().timeout = PATIENCE;
            builder.build().unwrap()
        }
    }

    impl Drop for NameServer {
        fn drop(&mut self) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    #[tokio::test]
    async fn the_shortest_lifetime_on_the_way_counts() {
        let records = "host-record=app.test,127.0.0.7,300\ncname=www.test,app.test,20\n";
        let server = NameServer::knowing(records, "app.test.").await;
        let dns = server.resolver();
        let found = ask_dns(&dns, "app.test.").await.unwrap();
        assert_eq!(found, (vec![ip("127.0.0.7")], Duration::from_mins(5)));
        let found = ask_dns(&dns, "www.test.").await.unwrap();
        assert_eq!(found, (vec![ip("127.0.0.7")], Duration::from_secs(20)));
        ask_dns(&dns, "other.test.").await.unwrap_err();
    }
}
