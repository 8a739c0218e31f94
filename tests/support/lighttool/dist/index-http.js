// A light stand-in for the user's own Node opencode-mcp-tool (MCP_TOOL_DIR), for tests about processes.
// It takes that tool's arguments and speaks just what readiness needs: 401 without the token, 200 with it.
const http = require("http");
const port = Number(process.argv[process.argv.indexOf("--port") + 1]);
http
  .createServer((request, response) => {
    const allowed = request.headers.authorization === `Bearer ${process.env.MCP_BEARER_TOKEN}`;
    response.writeHead(allowed ? 200 : 401, { "content-type": "application/json" });
    response.end("{}");
  })
  .listen(port, "127.0.0.1");
