//! One plot over time, as SVG.

use std::fmt::Write;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 64.0;
/// The legend with its names left out, and what a letter of them takes at most.
const LEGEND: f64 = 34.0;
const LETTER: f64 = 7.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 28.0;
/// An axis is at least so long: its marks are at different whole seconds.
const SECONDS_MIN: f64 = 5.0;
/// Told apart by people who do not see colours as most do (Okabe and Ito).
const COLOURS: [&str; 7] = ["#0072b2", "#009e73", "#e69f00", "#d55e00", "#cc79a7", "#56b4e9", "#7f7f7f"];

/// Lines over the seconds of a run.
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    /// What lies far apart is seen side by side.
    pub(super) logarithmic: bool,
    pub(super) series: Vec<Series>,
}

/// One line.
pub(super) struct Series {
    pub(super) name: String,
    /// Seconds and value.
    pub(super) points: Vec<(f64, f64)>,
}

impl Series {
    pub(super) fn is_zero(&self) -> bool {
        self.points.iter().all(|(_, value)| *value == 0.0)
    }
}

impl Chart {
    pub(super) fn is_empty(&self) -> bool {
        self.series.iter().all(|series| series.points.is_empty())
    }

    pub(super) fn svg(&self) -> String {
        let (low, high) = self.bounds();
        let last_s = self.points().map(|(at, _)| at).fold(SECONDS_MIN, f64::max);
        let right = WIDTH - self.legend();
        let x = |at: f64| LEFT + at / last_s * (right - LEFT);
        let place = |value: f64| match self.logarithmic {
            true => (value.max(low).ln() - low.ln()) / (high.ln() - low.ln()),
            false => (value - low) / (high - low),
        };
        let y = |value: f64| HEIGHT - BOTTOM - place(value) * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\" font-size=\"12\" fill=\"currentColor\">",
            self.title
        );
        for value in self.ticks(low, high) {
            let at = y(value);
            let _ = write!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"currentColor\" opacity=\".15\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                short(value)
            );
        }
        for part in 0..=5 {
            let at = last_s * f64::from(part) / 5.0;
            let _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{at:.0} s</text>",
                x(at),
                HEIGHT - 8.0
            );
        }
        let _ = write!(svg, "<text x=\"{}\" y=\"{}\">{}</text>", right + 10.0, TOP + 6.0, self.unit);
        for (n, series) in self.series.iter().enumerate() {
            let colour = COLOURS[n % COLOURS.len()];
            let mut points = String::new();
            for (at, value) in &series.points {
                let _ = write!(points, "{:.1},{:.1} ", x(*at), y(*value));
            }
            let _ = write!(
                svg,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>\
                 <rect x=\"{}\" y=\"{}\" width=\"10\" height=\"10\" fill=\"{colour}\"/><text x=\"{}\" y=\"{}\">{}</text>",
                points.trim_end(),
                right + 10.0,
                TOP + 15.0 + 16.0 * n as f64,
                right + 26.0,
                TOP + 24.0 + 16.0 * n as f64,
                super::escape(&series.name)
            );
            // One moment makes no line.
            if let [(at, value)] = series.points[..] {
                let _ = write!(
                    svg,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                    x(at),
                    y(value)
                );
            }
        }
        svg + "</svg>"
    }

    /// How wide the names beside the plot are.
    fn legend(&self) -> f64 {
        let letters = self.series.iter().map(|series| series.name.chars().count()).max().unwrap_or(0);
        (LEGEND + LETTER * letters as f64).clamp(140.0, WIDTH / 2.0)
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.series.iter().flat_map(|series| series.points.iter().copied())
    }

    /// The least and the greatest value of the axis; never equal.
    fn bounds(&self) -> (f64, f64) {
        let high = self.points().map(|(_, value)| value).fold(f64::MIN_POSITIVE, f64::max);
        match self.logarithmic {
            true => {
                let positive = self.points().map(|(_, value)| value).filter(|value| *value > 0.0);
                let low = positive.fold(high, f64::min).max(0.01);
                let decade = |value: f64| 10_f64.powf(value);
                let (low, high) = (decade(low.log10().floor()), decade(high.max(0.1).log10().ceil()));
                (low, if high > low { high } else { low * 10.0 })
            }
            false => (0.0, high.max(0.01) * 1.05),
        }
    }

    fn ticks(&self, low: f64, high: f64) -> Vec<f64> {
        match self.logarithmic {
            true => {
                let decades = std::iter::successors(Some(low), |value| Some(value * 10.0));
                decades.take_while(|value| *value <= high * 1.01).take(12).collect()
            }
            false => (0..=4).map(|part| low + (high - low) * f64::from(part) / 4.0).collect(),
        }
    }
}

fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{:.1}M", value / 1e6),
        size if size >= 1e4 => format!("{:.0}k", value / 1e3),
        size if size >= 10.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 0.1 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_have_room() {
        let series = vec![Series { name: "a".repeat(30), points: Vec::new() }];
        let chart = Chart { title: "t", unit: "ms", logarithmic: false, series };
        assert!((240.0..=WIDTH / 2.0).contains(&chart.legend()), "{}", chart.legend());
    }

    #[test]
    fn every_point_lies_within_the_plot_whatever_the_values() {
        let values = [vec![], vec![0.0], vec![0.0, 1e9, 0.003], vec![5.0; 3]];
        for (values, logarithmic) in values.iter().flat_map(|values| [(values, true), (values, false)]) {
            let points = values.iter().enumerate().map(|(n, value)| (n as f64, *value)).collect();
            let series = vec![Series { name: "a".to_owned(), points }];
            let chart = Chart { title: "t", unit: "ms", logarithmic, series };
            let (svg, right) = (chart.svg(), WIDTH - chart.legend());
            let list = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
            for point in list.split_whitespace() {
                let (x, y) = point.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!(
                    (LEFT..=right).contains(&x) && (TOP - 0.1..=HEIGHT).contains(&y),
                    "{point} of {values:?}"
                );
            }
        }
    }
}
