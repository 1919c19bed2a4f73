// A Node server: server.js TEXT [PORT]. It answers with TEXT and its pid, on the port, or on the first socket that it
// was handed (LISTEN_FDS, LISTEN_PID).
const http = require("http");

const [text, port] = process.argv.slice(2);
const given = process.env.LISTEN_PID === String(process.pid) && Number(process.env.LISTEN_FDS) > 0;
const where = given ? { fd: 3 } : { port: Number(port), host: "127.0.0.1" };

http.createServer((request, response) => {
    response.setHeader("Connection", "close");
    response.end(`${text} ${process.pid}`);
}).listen(where);
