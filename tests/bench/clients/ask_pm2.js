// Asks a pm2 daemon for its status again and again over one connection; prints milliseconds and pids as JSON.
// Runs with NODE_PATH naming pm2's folder: ask_pm2.js TIMES.
const pm2 = require("pm2");
const times = Number(process.argv[2]);
const took = [];
function ask(left, known) {
  if (left === 0) {
    const running = known.filter((each) => each.pm2_env.status === "online");
    const pids = Object.fromEntries(running.map((each) => [each.name, each.pid]));
    console.log(JSON.stringify({ milliseconds: took.slice(1), pids }));
    pm2.disconnect();
    process.exit(0);
  }
  const began = performance.now();
  pm2.list((error, list) => {
    if (error) throw error;
    took.push(performance.now() - began);
    ask(left - 1, list);
  });
}
pm2.connect(false, (error) => {
  if (error) throw error;
  ask(times + 1, []);
});
