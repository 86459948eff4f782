//! The page that says what each transform costs: made of the ratchet's figures, so that both say the same.

use std::fmt::Write as _;
use std::fs;

use testkit::workspace;

use super::cases::{CHAIN_OF_ONE, CHAIN_OF_ONE_IN_HALVES, CHAIN_OF_SINK, Cost, ENDS, RETURNER, TRANSFORMS};
use super::ratchet::{Figures, Named, RATCHET, find};
use super::{budgets, shown};

const PAGE: &str = "docs/benchmarks/transforms.md";

const HEAD: &str = "\
# What each transform costs

`cargo xtask instructions --update` writes this page. CI counts again (`cargo xtask instructions`), and fails when a figure is
more than 2 % of its whole chain away from what stands here, or when more is allocated.

Counted with callgrind, in user instructions: one client, 32 requests in flight, each a SELECT of 109 bytes with a reply of
one row and 109 bytes; the client loop, the chain and the sink as they ship, sockets and servers in memory. So these are the
instructions of the transform and of what the chain does for its sake, not time, and nothing of the kernel's.

## Transforms

What each adds to a chain that has another transform already.

| transform | | a request and its reply | a message in one direction | allocations a request | system calls a request |
|---|---|---|---|---|---|
";

const NOTES: &str = "
- (a) What is made for the file is counted, and so are handing it to a bounded channel and taking it from there. The thread
  that writes is not there, nor the look at the clock for the time of a line.
- (b) Only the data path's thread is counted. The system calls are looks at the clock, which are none outside of valgrind, and
  wake-ups of the thread that writes.
- (c) The second chain has a server connection of its own, whose cost is in it; its server in memory has some 20 of the
  instructions. Steps of a session and what differs cost more.
- (d) Compared with the same requests in the same two reads, which then leave in two writes.
";

/// The page, made of these figures.
fn render(figures: &Named) -> Option<String> {
    let mut text = HEAD.to_owned();
    let one = find(figures, CHAIN_OF_ONE)?;
    let sink = find(figures, CHAIN_OF_SINK)?;
    for cost in &TRANSFORMS {
        let without = if cost.in_halves { find(figures, CHAIN_OF_ONE_IN_HALVES)? } else { one };
        let Figures { instructions, allocations, calls } = find(figures, cost.case)?.beyond(without, 1.0);
        let cells = [shown(instructions), shown(instructions / 2.0), count(allocations), count(calls)];
        writeln!(text, "| {} | {} |", name(cost), cells.join(" | ")).ok()?;
    }
    text.push_str(NOTES);
    text.push_str(
        "\n## Budget\n\n| a transform that looks at headers, a message in one direction | counted | at most | |\n\
         |---|---|---|---|\n",
    );
    for budget in budgets(figures) {
        let outcome = if budget.passes() { "passes" } else { "**fails**" };
        writeln!(text, "| {} | {} | {} | {outcome} |", budget.name, count(budget.figure), budget.most)
            .ok()?;
    }
    let first = one.beyond(sink, 2.0).instructions;
    write!(
        text,
        "\nThe first transform of a chain, whatever it is, costs {} by being there, a message in one direction at 32 \
         deep: a chain\nthat is nothing but a sink cuts no messages and keeps no ledger.\n\n## Ends of chains\n\n\
         The whole cost of a chain that has nothing else.\n\n\
         | end | | a request and its reply | beyond CassandraSinkSingle | allocations a request | system calls a request |\n\
         |---|---|---|---|---|---|\n",
        shown(first)
    )
    .ok()?;
    for cost in &ENDS {
        let Figures { instructions, allocations, calls } = find(figures, cost.case)?;
        let beyond = shown(instructions - sink.instructions);
        let cells = [shown(instructions), beyond, count(allocations), count(calls)];
        writeln!(text, "| {} | {} |", name(cost), cells.join(" | ")).ok()?;
    }
    let life = find(figures, RETURNER.case)?;
    write!(
        text,
        "\n[DebugReturner](../transforms/DebugReturner.md) ends a client at its first request: the whole life of such a \
         client,\nfrom its chain to its closed connection, is {} instructions and {} allocations.\n",
        shown(life.instructions),
        count(life.allocations)
    )
    .ok()?;
    Some(text)
}

fn name(cost: &Cost) -> String {
    format!("[{page}](../transforms/{page}.md) | {}", cost.options, page = cost.page)
}

/// A figure of which tenths matter.
fn count(figure: f64) -> String {
    let text = format!("{:.2}", figure.max(0.0));
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(super) fn write(figures: &Named) -> Result<(), String> {
    let text = render(figures).ok_or("a figure of the page is missing")?;
    fs::write(workspace().join(PAGE), text).map_err(|error| format!("{PAGE}: {error}"))
}

/// Fails when the page says something else than the ratchet.
pub(super) fn check(figures: &Named) -> Result<(), String> {
    let text = fs::read_to_string(workspace().join(PAGE)).map_err(|error| format!("{PAGE}: {error}"))?;
    if render(figures).as_deref() == Some(&text) {
        return Ok(());
    }
    Err(format!("{PAGE} does not say what {RATCHET} says; `cargo xtask instructions --update` writes both"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use testkit::workspace;

    use super::super::ratchet;
    use super::{ENDS, RETURNER, TRANSFORMS, check};

    #[test]
    fn the_page_says_what_the_ratchet_says() {
        assert_eq!(check(&ratchet::read()), Ok(()));
    }

    #[test]
    fn every_transform_is_counted_and_its_page_leads_to_the_costs() {
        let counted = TRANSFORMS.iter().chain(&ENDS).chain([&RETURNER]).map(|cost| cost.page.to_owned());
        let mut pages = BTreeSet::new();
        for file in std::fs::read_dir(workspace().join("docs/transforms")).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            if name == "README" {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains("(../benchmarks/transforms.md)"), "{name}");
            pages.insert(name);
        }
        assert_eq!(counted.collect::<BTreeSet<_>>(), pages);
    }
}
