//! What the operator's own process uses, by what Linux says of it.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

/// Read when the metrics are; elsewhere than on Linux there is nothing to read.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let Some((resident, cpu)) = read() else {
            return Ok(());
        };
        let memory = ConstGauge::new(resident);
        memory.encode(encoder.encode_descriptor(
            "process_resident_memory_bytes",
            "Memory that the operator uses",
            None,
            memory.metric_type(),
        )?)?;
        let time = ConstCounter::new(cpu);
        time.encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            "Processor time that the operator has used",
            None,
            time.metric_type(),
        )?)
    }
}

/// Memory in bytes, and processor time in seconds.
fn read() -> Option<(i64, f64)> {
    let stat = procfs::process::Process::myself().ok()?.stat().ok()?;
    let resident = stat.rss.checked_mul(procfs::page_size())?;
    let ticks = u32::try_from(stat.utime + stat.stime).unwrap_or(u32::MAX);
    let in_a_second = u32::try_from(procfs::ticks_per_second()).ok()?;
    Some((
        i64::try_from(resident).ok()?,
        f64::from(ticks) / f64::from(in_a_second),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_some_memory() {
        let (resident, cpu) = read().unwrap();
        assert!(resident > 1_000_000, "{resident}");
        assert!(cpu >= 0.0);
    }
}
