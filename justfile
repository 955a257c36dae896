# Short forms of the commands in CONTRIBUTING.md. Times: two cores, after a first build.

_default:
    @just --list --unsorted

# Functions, stand-in, definitions, commands: no emulator (30 s)
unit:
    cargo test --locked -p lambdas -p rekognition-local
    cargo test --locked -p facereel --lib --bins --test commands
    cargo test --locked -p tests --lib --test statemachine --test fuzz

# The workflow and the commands, end to end on the local emulator, and the tracks and the blur of the clips (4 min)
e2e:
    cargo test --locked -p local-stack --test emulator
    cargo test --locked -p facereel --test local --test blur
    cargo test --locked -p tests --test workflow --test operations --test tracks --test blur

# The workflow in virtual time, with the fixed seeds (3 min)
simulation:
    cargo test --locked -p simulation

# New seeds of the simulation, for example `just seeds --count 1000 --minutes 10`
seeds *options:
    scripts/search-seeds {{ options }}

# Format, words and clippy, as CI checks them (10 s)
lint:
    scripts/check-format-and-lints

# The Terraform module: validate, test, checkov, then apply and destroy on the emulator (9 min)
terraform:
    scripts/check-terraform
    scripts/check-terraform-apply

# report.html and `facereel view` in a real Chromium (60 s)
browser:
    scripts/check-browser

# Exports of random results, read by other programs (10 s)
exports:
    scripts/check-exports

# The bundle for this machine's architecture: everything to use facereel without Rust (10 min)
bundle:
    scripts/bundle

# Measure everything on a clean commit and write the tables of BENCHMARKS.md, while nothing else runs (40 min with the builds)
bench:
    cargo run --release --locked --bin bench -- all

# Everything that CI checks, one after the other (25 min from a fresh clone)
ci:
    .ci/run
