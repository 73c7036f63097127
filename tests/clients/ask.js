// Asks for each address and prints status and body.
(async () => {
  for (const address of process.argv.slice(2)) {
    const answer = await fetch(address);
    console.log(answer.status, await answer.text());
  }
})();
