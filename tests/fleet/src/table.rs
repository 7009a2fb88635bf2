//! The report for a person at a terminal.

use std::fmt::{Display, Formatter, Result};

use crate::{Count, Span, Summary, Usage};

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.connections(f)?;
        self.messages(f)?;
        self.latencies(f)?;
        self.processes(f)?;
        for remark in &self.remarks {
            writeln!(f, "note: {remark}")?;
        }
        for check in &self.checks {
            let value = check.value.map_or("not measured".to_owned(), |value| format!("{value:.3}"));
            let passed = if check.passed { "pass" } else { "FAIL" };
            writeln!(f, "check {passed}  {} ({value})", check.check)?;
        }
        Ok(())
    }
}

impl Summary {
    fn of(&self, count: Count) -> u64 {
        self.counts.get(count.name()).copied().unwrap_or(0)
    }

    fn connections(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "devices   {} of {} online", self.online_max, self.plan.devices)?;
        let trouble = [
            (Count::ConnectRefused, "refused"),
            (Count::ConnectFailed, "not made"),
            (Count::ConnectTimedOut, "timed out"),
            (Count::ConnectionLost, "lost"),
            (Count::ConnectionCut, "cut by the scenario"),
            (Count::QosRefused, "ended for the quality of service"),
            (Count::SubscribeRefused, "subscriptions refused"),
            (Count::ProtocolError, "protocol errors"),
            (Count::AmqpLost, "AMQP links lost"),
        ];
        for (count, word) in trouble.into_iter().filter(|(count, _)| self.of(*count) > 0) {
            write!(f, ", {} {word}", self.of(count))?;
        }
        writeln!(f)
    }

    fn messages(&self, f: &mut Formatter<'_>) -> Result {
        let rate = |many: u64| many as f64 / self.measured_s;
        let traffic = &self.plan.traffic;
        writeln!(
            f,
            "published {} ({:.1}/s of {:.1}/s offered, QoS {}, {} B): {} acknowledged, {} refused, {} abandoned, {} skipped",
            self.of(Count::Published),
            rate(self.of(Count::Published)),
            traffic.rate * f64::from(self.plan.devices),
            traffic.qos,
            traffic.size,
            self.of(Count::Acknowledged),
            self.of(Count::PublishRefused),
            self.of(Count::Abandoned),
            self.of(Count::Skipped),
        )?;
        if let Some(offered) = self.command_rate.filter(|_| self.plan.commands) {
            writeln!(
                f,
                "commands  {} ({:.1}/s of {offered:.1}/s offered): {} confirmed, {} failed, {} final receipts",
                self.of(Count::CommandOffered),
                rate(self.of(Count::CommandOffered)),
                self.of(Count::CommandConfirmed),
                self.of(Count::CommandFailed),
                self.of(Count::ReceiptReceived),
            )?;
        }
        if self.of(Count::AnswerPublished) + self.of(Count::AnswerSkipped) > 0 {
            writeln!(
                f,
                "answers   {}: {} acknowledged, {} refused, {} abandoned, {} skipped",
                self.of(Count::AnswerPublished),
                self.of(Count::AnswerAcknowledged),
                self.of(Count::AnswerRefused),
                self.of(Count::AnswerAbandoned),
                self.of(Count::AnswerSkipped),
            )?;
        }
        if self.verdict.directions().next().is_some() {
            writeln!(
                f,
                "\n{:<10}{:>12}{:>12}{:>10}{:>12}{:>11}",
                "way", "expected", "arrived", "lost", "duplicates", "reordered"
            )?;
        }
        for (name, way) in self.verdict.directions() {
            writeln!(
                f,
                "{name:<10}{:>12}{:>12}{:>10}{:>12}{:>11}",
                way.expected, way.arrived, way.lost, way.duplicates, way.reordered
            )?;
            if !way.lost_examples.is_empty() {
                writeln!(f, "          lost are, among others: {}", way.lost_examples.join(" "))?;
            }
        }
        Ok(())
    }

    fn latencies(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(
            f,
            "\n{:<10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}   ms from the due time",
            "latency", "count", "p50", "p90", "p99", "p99.9", "max"
        )?;
        for span in Span::ALL {
            if let Some(p) = self.latencies.get(span.name()) {
                writeln!(
                    f,
                    "{:<10}{:>10}{:>10.2}{:>10.2}{:>10.2}{:>10.2}{:>10.2}",
                    span.name(),
                    p.count,
                    p.p50_ms,
                    p.p90_ms,
                    p.p99_ms,
                    p.p999_ms,
                    p.max_ms
                )?;
            }
        }
        Ok(())
    }

    fn processes(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "\n{:<22}{:>12}{:>14}{:>14}", "process", "CPU cores", "RSS MiB", "most MiB")?;
        let fleet = (format!("the fleet ({})", self.workers), &self.fleet);
        let watched = self.watched.iter().map(|(name, usage)| (name.clone(), usage));
        for (name, usage) in std::iter::once(fleet).chain(watched) {
            let Usage { cpu_cores, rss_bytes, rss_max_bytes } = usage;
            let mib = |bytes: &u64| *bytes as f64 / f64::from(1 << 20);
            writeln!(f, "{name:<22}{cpu_cores:>12.2}{:>14.1}{:>14.1}", mib(rss_bytes), mib(rss_max_bytes))?;
        }
        writeln!(f, "{:<22}{:>12}", "cores of the machine", self.cores)
    }
}

#[cfg(test)]
mod tests {
    use crate::Check;
    use crate::summary::tests::summary;

    #[test]
    fn the_table_says_what_was_lost_and_which_check_failed() {
        let mut summary = summary();
        summary.check(&Check::parse_list("lost=0,p50_ms<1000").unwrap());
        let table = summary.to_string();
        for part in [
            "lost are, among others: fleet-000001/7",
            "check FAIL  lost=0 (1.000)",
            "check pass  p50_ms<1000",
        ] {
            assert!(table.contains(part), "{part} is missing:\n{table}");
        }
    }
}
