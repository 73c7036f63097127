# Every client in turn, each under a heading and followed by how it ended. Run in src/ of a worktree.
say() {
    echo "== $1"
    timeout 150 sh -uc "$2" 2>&1 </dev/null
    printf '\n== ended %s\n' $?
}
OPEN="https://open.test/ok https://whole.test/ok http://plain.test/ok"
CLOSED="https://open.test/closed https://denied.test/ http://denied.test/"
export OPEN CLOSED GIT_SSH_COMMAND="ssh -i $HOME/key -o UserKnownHostsFile=known -o BatchMode=yes"
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@a.test GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@a.test
install -m 600 key "$HOME/key"

say curl 'curl -sS $OPEN; for one in $CLOSED; do curl -sS -w "%{http_code}\n" $one; done'
say curl-port 'curl -sS https://whole.test:8443/ok; curl -sS -m 5 http://whole.test/ok'
say python 'python3 ask.py $OPEN $CLOSED'
say node 'node ask.js $OPEN $CLOSED'
say java 'java Ask.java $OPEN $CLOSED'
say go 'go run ask.go $OPEN $CLOSED'
say events 'python3 events.py open.test; python3 events.py whole.test'
say events-curl 'curl -sSN https://open.test/events | while read -r line; do echo "$line"; case $line in *first) curl -sS https://open.test/seen;; esac; done'
say events-denied 'curl -sSN https://denied.test/events'
say socket 'node socket.js wss://open.test/socket; node socket.js wss://whole.test/socket'
say socket-denied 'node socket.js wss://denied.test/socket; curl -sS -H "Connection: Upgrade" -H "Upgrade: websocket" https://git.test/team/app'

say clone 'git clone -q https://git.test/team/app inspected && git clone -q https://whole.test/team/app whole && cat inspected/words.txt whole/words.txt'
say clone-denied 'git clone https://git.test/team/hidden; git clone https://denied.test/team/app'
say clone-ssh 'git clone -q $(cat user)@ssh.test:team/app ssh && cat ssh/words.txt'
say clone-ssh-denied 'git clone -q $(cat user)@denied.test:team/app never'
say push 'cd inspected && echo more >> words.txt && git commit -qam more && git push origin HEAD:loki/one && git push origin :loki/one && git push origin HEAD:loki/two'
say push-elsewhere 'cd inspected && git push origin HEAD:main'
say push-tag 'cd inspected && git tag v1 && git push origin v1'
say push-delete 'cd inspected && git push origin :other'
say push-force 'cd inspected && git push --force origin HEAD:other'
say push-both 'cd inspected && git push origin HEAD:loki/three HEAD:main'
say push-large 'cd inspected && head -c 3000000 /dev/urandom > large && git add large && git commit -qm large && git push origin HEAD:main; git push -q origin HEAD:loki/large && echo it is there'
say push-hidden 'cd inspected && git push https://git.test/team/hidden HEAD:loki/one'

say npm 'cd packages && npm install --no-audit --no-fund --registry https://npm.test/npm/ greet && node -p "require(\"greet\")"'
say npm-denied 'cd packages && npm view --fetch-retries 0 --registry https://denied.test/npm/ greet; npm publish --registry https://npm.test/npm/ --//npm.test/npm/:_authToken=mine'
say pip 'pip install -q --no-input --disable-pip-version-check --target packages/python --index-url https://pypi.test/simple greet && PYTHONPATH=packages/python python3 -c "import greet; print(greet.WORD)"'
say pip-denied 'pip download -vv --retries 0 --disable-pip-version-check --index-url https://denied.test/simple greet; pip download -vv --retries 0 --disable-pip-version-check --index-url https://pypi.test/other greet'
say cargo 'cd packages && cargo fetch && cargo build -q --offline --target-dir $HOME/target && $HOME/target/debug/app'
say cargo-denied 'cd packages && CARGO_NET_RETRY=0 CARGO_HOME=$HOME/other cargo fetch --config "source.suite.registry=\"https://denied.test/team/index\""'

say canary 'env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr "\0" "\n"; printf "protocol=https\nhost=git.test\n\n" | GIT_TERMINAL_PROMPT=0 git credential fill; npm config ls -l --registry https://npm.test/npm/ | grep -i auth; pip config list; git config --list; cat ~/.netrc ~/.npmrc ~/.git-credentials ~/.cargo/credentials* ~/.config/gh/hosts.yml 2>/dev/null; grep -rsl "gate-cana[r]y" /tmp /home /work /run /etc; echo searched'
