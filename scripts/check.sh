#!/usr/bin/env bash
# The inner loop, two minutes at most: gofmt, house rules, then vet and tests of the packages that changed and of those that import them
# directly. What changed is what is not committed; if everything is, what this branch has over main; on main, the last commit. SINCE=COMMIT
# asks otherwise. Tests run with -short and without the race detector; `make test` is the whole.
source "$(dirname "$0")/lib.sh"

since() {
	if [[ -n ${SINCE:-} ]]; then echo "$SINCE"
	elif [[ -n $(git status --porcelain) ]]; then echo HEAD
	elif [[ $(git rev-parse HEAD) != $(git rev-parse main 2>/dev/null) ]] && git merge-base HEAD main 2>/dev/null; then :
	else git rev-parse --verify -q HEAD~1 || git hash-object -t tree /dev/null
	fi
}

base=$(since)
mapfile -t changed < <({ git diff --name-only "$base"; git ls-files -o --exclude-standard; } | sort -u)
echo "${#changed[@]} files differ from $(git log -1 --format='%h %s' "$base" 2>/dev/null || echo nothing)"

say "gofmt"
mapfile -t sources < <(git ls-files -co --exclude-standard '*.go' | while read -r f; do [[ -f $f ]] && echo "$f"; done)
unformatted=$(gofmt -l "${sources[@]}")
[[ -z $unformatted ]] || die "not formatted, run gofmt -w: $unformatted"

say "house rules"
go test -count=1 ./test/house

# touched lists the packages of the module in folder $1 that hold a changed file, or whose testdata does, and those that import them.
touched() {
	local module=$1 dir file all
	all=$(cd "$module" && go list -f '{{.ImportPath}} {{.Dir}} {{join .Imports ","}},{{join .TestImports ","}},{{join .XTestImports ","}}' ./...)
	for file in "${changed[@]}"; do
		dir=$(dirname "$file")
		echo "$PWD/${dir%%/testdata*}"
	done | sort -u | awk -v packages="$all" '
		{ folder[$0] = 1 }
		END {
			n = split(packages, line, "\n")
			for (i = 1; i <= n; i++) { split(line[i], f, " "); if (f[2] in folder) hit["," f[1] ","] = 1 }
			for (i = 1; i <= n; i++) {
				split(line[i], f, " "); take = ("," f[1] ",") in hit
				for (h in hit) if (index("," f[3] ",", h)) take = 1
				if (take) print f[1]
			}
		}'
}

for module in $(modules); do
	printf '%s\n' "${changed[@]}" | grep -q "^${module#.}" || continue
	mapfile -t packages < <(touched "$module" | grep -vE '/test/(house|e2e|bench)(/|$)' || true)
	((${#packages[@]})) || continue
	say "vet and test ${#packages[@]} packages in $module"
	(cd "$module" && nice go vet "${packages[@]}" && nice go test -short -timeout 100s "${packages[@]}")
done
