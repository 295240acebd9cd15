# Runs critest in the node and prints a line for each spec of its report. $handler, $focus, $skip and
# $unwanted (the user's part of it), $transport, $verbose and $specs are set above.
cd /root
setsid --fork bulkhead serve > /var/log/bulkhead.log 2>&1 < /dev/null
for _ in $(seq 100); do [ -S /run/bulkhead/bulkhead.sock ] && break; sleep 0.1; done
# Host ports on loopback are DNATed to pods.
echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet

critest -runtime-endpoint unix:///run/bulkhead/bulkhead.sock -runtime-handler "$handler" \
    $transport -ginkgo.focus "$focus" -ginkgo.skip "$skip" -ginkgo.json-report /tmp/critest.json \
    -ginkgo.timeout 3h -ginkgo.no-color > /tmp/critest.log 2>&1 &
critest=$!
if [ -n "$verbose" ]; then
    tail --pid $critest -n +1 -f /tmp/critest.log
else
    while kill -0 $critest 2> /dev/null; do
        sleep 20
        echo "critest: $(grep -o '•' /tmp/critest.log | wc -l) specs so far"
    done
fi
wait $critest
code=$?
if [ ! -s /tmp/critest.json ]; then
    tail -n 50 /tmp/critest.log
    exit 1
fi
printf '%s' "$specs" > /tmp/critest.jq
jq -r --arg focus "$focus" --arg unwanted "$unwanted" -f /tmp/critest.jq /tmp/critest.json
exit $code
