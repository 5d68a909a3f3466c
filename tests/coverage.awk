# Reads the table of `cargo llvm-cov report --summary-only`: prints the lines that the tests reach, for each part that has a bound
# and for all, and fails if one is too low. The tests' own lines do not count.

BEGIN {
    bound["src/peers"] = bound["src/network"] = bound["src/wire"] = 90
    bound["all"] = 80
}

# File, then three columns each for regions, functions and lines.
$1 ~ /\.rs$/ && $8 ~ /^[0-9]+$/ {
    # Where everything is below one folder, the table leaves that out.
    path = $1
    sub(/^src\//, "", path)
    split(path, folders, "/")
    part = "src/" folders[1]
    if (path ~ /(^|\/)tests?(\/|\.rs$)/ || path ~ /^peers\/sim\//) next
    lines[part] += $8; missed[part] += $9
    lines["all"] += $8; missed["all"] += $9
}

END {
    for (part in lines) {
        percent = 100 * (1 - missed[part] / lines[part])
        printf "%-16s %6d lines  %5.1f %%", part, lines[part], percent
        if (part in bound) {
            printf "  bound %d %%", bound[part]
            if (percent <= bound[part]) { printf "  TOO LOW"; failed = 1 }
            held[part] = 1
        }
        print ""
    }
    for (part in bound) if (!(part in held)) { print part " is not in the table"; failed = 1 }
    exit failed
}
