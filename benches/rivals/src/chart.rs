//! Draws the table as an SVG picture: one bar for each contender, as a ratio to tokio.

use std::fmt::Write as _;

use crate::contenders::Contender;
use crate::{Outcome, ROUNDS, publish};

/// Draws `results`.
pub fn svg(results: &[Outcome]) -> String {
    let bars: Vec<_> = results.iter().map(bars_of).collect();
    let height = TOP
        + bars
            .iter()
            .map(|bars| GROUP + bars.len() * BAR)
            .sum::<usize>();
    let mut svg = String::new();
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"18\">CPU time for one operation, as a ratio to tokio (shorter is \
         faster); medians of {ROUNDS} rounds</text>\n\
         <text x=\"10\" y=\"34\" fill=\"#475569\">{}</text>\n",
        publish::machine()
    );
    let mut y = TOP;
    for (result, bars) in results.iter().zip(&bars) {
        let _ = writeln!(
            svg,
            "<text x=\"10\" y=\"{}\">{}</text>",
            y + 4,
            result.row.title
        );
        y += GROUP - BAR / 2;
        for (who, ratio) in bars {
            // A bar beyond the scale is cut; its number shows the ratio.
            let width = (ratio.min(MOST) * SCALE) as usize;
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{LEFT}\" y=\"{}\" width=\"{width}\" height=\"{}\" fill=\"{}\"/>\
                 <text x=\"{}\" y=\"{}\">{ratio:.2}</text>",
                LEFT - 6,
                y + BAR - 5,
                who.name(),
                y + 1,
                BAR - 3,
                color(*who),
                LEFT + width + 6,
                y + BAR - 5,
            );
            y += BAR;
        }
        y += BAR / 2;
    }
    let x = LEFT + SCALE as usize;
    let _ = writeln!(
        svg,
        "<line x1=\"{x}\" y1=\"{TOP}\" x2=\"{x}\" y2=\"{height}\" stroke=\"#888\" \
         stroke-dasharray=\"3 3\"/>\n</svg>"
    );
    svg
}

fn bars_of(result: &Outcome) -> Vec<(Contender, f64)> {
    let bars = result.figures();
    bars.filter_map(|(who, _)| Some((who, result.ratio(who)?)))
        .collect()
}

fn color(contender: Contender) -> &'static str {
    match contender {
        Contender::Ours | Contender::Protocol | Contender::Async => "#c2410c",
        Contender::Tokio => "#475569",
        _ => "#cbd5e1",
    }
}

/// Pixels.
const WIDTH: usize = 760;
const LEFT: usize = 110;
const TOP: usize = 52;
const BAR: usize = 17;
const GROUP: usize = 26;
/// The width of a ratio of one, and the ratio at which bars are cut.
const SCALE: f64 = 240.0;
const MOST: f64 = 2.4;
