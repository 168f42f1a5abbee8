# Shorthands for those who have just; each is a `cargo xtask` command.

# List the recipes
default:
    @just --list

# Check and test everything, as CI does
test *args:
    cargo xtask test {{args}}

# Build the programs that tests, demo and benches run
tools *args:
    cargo xtask tools {{args}}

# Start a cluster to try things on
cluster-up *args:
    cargo xtask cluster up {{args}}

# Stop it
cluster-down:
    cargo xtask cluster down

# Write OCI archives of the operator and of what a real node runs
image *args:
    cargo xtask image {{args}}

# Write what is derived from the code
generate *args:
    cargo xtask generate {{args}}

# Compare the operator's rights with what it asked for in the tests
permissions *args:
    cargo xtask permissions {{args}}

# Watch Backstop take a bad release back
demo *args:
    cargo xtask demo {{args}}

# Measure how long detection and rollback take
bench *args:
    cargo xtask bench {{args}}
