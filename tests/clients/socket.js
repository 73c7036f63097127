// Says two things over a WebSocket, the second once the first was answered.
const { WebSocket } = require("undici");
const socket = new WebSocket(process.argv[2]);
const words = ["one", "two ".repeat(20)];
socket.onopen = () => socket.send(words.shift());
socket.onmessage = ({ data }) => {
  console.log(data.trim().slice(0, 13));
  if (words.length) socket.send(words.shift());
  else socket.close();
};
socket.onclose = ({ code }) => console.log("closed", code);
socket.onerror = () => console.log("it failed");
