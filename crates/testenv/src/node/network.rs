//! The link between a node's network namespace and the machine's.
//!
//! Everything that runs on the machine (tests, Prometheus, Traefik, the operator, the API server) reaches pods and
//! Services by their own addresses: two routes lead into the namespace, where kube-proxy's rules are. Nothing else of
//! the machine's network changes, and the routes go away with the namespace, as the link does.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use super::sandbox::Sandbox;
use crate::cluster::ServiceRange;
use crate::tools::Tool;

/// Links are numbered, and each number has addresses of its own in 198.18.0.0/15, which is set aside for tests of
/// networks and used nowhere else.
const LINKS: u8 = 200;

/// The addresses of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    number: u8,
}

impl Network {
    /// Links `sandbox` to the machine, with routes to its pods and to `services`.
    pub(super) fn link(sandbox: &Sandbox, services: ServiceRange) -> anyhow::Result<Self> {
        let ip = Tool::Ip.path()?;
        let holder = sandbox.holder().to_string();
        refuse_taken(&ip, &services.cidr())?;
        let network = (0..LINKS)
            .map(|number| Self { number })
            .find_map(|network| network.claim(&ip, &holder).transpose())
            .with_context(|| format!("all {LINKS} links are taken"))??;
        network.configure(&ip, sandbox, services)?;
        Ok(network)
    }

    /// The interface on the machine's side.
    pub(super) fn interface(self) -> String {
        format!("backstop{}", self.number)
    }

    /// The machine, as the node sees it.
    pub(super) fn machine(self) -> Ipv4Addr {
        Ipv4Addr::new(198, 19, self.number, 1)
    }

    /// The node, as the machine sees it.
    pub(super) fn node(self) -> Ipv4Addr {
        Ipv4Addr::new(198, 19, self.number, 2)
    }

    /// Where pods get their addresses.
    pub(super) fn pods(self) -> String {
        format!("198.18.{}.0/24", self.number)
    }

    /// Makes the interface, unless someone else has this number: the kernel gives a name to one only.
    fn claim(self, ip: &Path, holder: &str) -> anyhow::Result<Option<Self>> {
        let name = self.interface();
        if Path::new("/sys/class/net").join(&name).exists() {
            return Ok(None);
        }
        let words = ["link", "add", &name, "type", "veth", "peer", "name", "eth0"];
        let made = run(Command::new(ip).args(words).args(["netns", holder]));
        match made {
            Ok(_) => Ok(Some(self)),
            Err(error) if format!("{error:#}").contains("File exists") => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn configure(self, ip: &Path, sandbox: &Sandbox, services: ServiceRange) -> anyhow::Result<()> {
        let name = self.interface();
        let (machine, node) = (self.machine().to_string(), self.node().to_string());
        let inside = |words: &[&str]| run(sandbox.command(ip).args(words));
        let outside = |words: &[&str]| run(Command::new(ip).args(words));
        inside(&["link", "set", "lo", "up"])?;
        inside(&["address", "add", &format!("{node}/30"), "dev", "eth0"])?;
        inside(&["link", "set", "eth0", "up"])?;
        inside(&["route", "add", "default", "via", &machine])?;
        // The address of a pod that is gone. By the default route what is sent there would go to the machine and back
        // again until it is dropped, and the packet filter would keep the connection that it began: for two minutes
        // each later connection from the same port would be sent to that pod as well.
        inside(&["route", "add", "unreachable", &self.pods()])?;
        outside(&["address", "add", &format!("{machine}/30"), "dev", &name])?;
        outside(&["link", "set", &name, "up"])?;
        for range in [self.pods(), services.cidr()] {
            outside(&["route", "add", &range, "via", &node, "dev", &name])?;
        }
        Ok(())
    }
}

/// Fails if the machine has a route of its own into `range`: ours would cut it off.
fn refuse_taken(ip: &Path, range: &str) -> anyhow::Result<()> {
    let routes = run(Command::new(ip).args(["-4", "route", "show"]))?;
    let range_ = parse(range).context("no range")?;
    let taken = routes
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .find(|route| parse(route).is_some_and(|route| overlap(route, range_)));
    match taken {
        Some(route) => bail!("this machine's own network uses {route}, within which {range} lies"),
        None => Ok(()),
    }
}

/// First address and length of the prefix. `default` is none.
fn parse(route: &str) -> Option<(u32, u32)> {
    let (address, length) = route.split_once('/').unwrap_or((route, "32"));
    let address: Ipv4Addr = address.parse().ok()?;
    Some((address.to_bits(), length.parse().ok()?))
}

fn overlap(one: (u32, u32), other: (u32, u32)) -> bool {
    let common = one.1.min(other.1).min(32);
    let differing = u64::from(one.0 ^ other.0);
    differing >> (32 - common) == 0
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().context("could not start `ip`")?;
    let words: Vec<_> = command
        .get_args()
        .map(|word| word.to_string_lossy())
        .collect();
    ensure!(
        output.status.success(),
        "`ip {}`: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_overlap_when_one_lies_in_the_other() {
        let overlaps = |one: &str, other: &str| overlap(parse(one).unwrap(), parse(other).unwrap());
        assert!(overlaps("10.0.0.0/8", "10.130.7.0/24"));
        assert!(overlaps("10.130.7.0/24", "10.0.0.0/8"));
        assert!(overlaps("10.130.7.9", "10.130.7.0/24"));
        assert!(!overlaps("10.130.6.0/24", "10.130.7.0/24"));
        assert!(!overlaps("192.168.0.0/16", "10.130.7.0/24"));
        assert!(parse("default").is_none());
    }
}
