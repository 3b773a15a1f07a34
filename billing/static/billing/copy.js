// Copies the text of a field or a block. Without it the text can be selected and copied by hand.
for (const button of document.querySelectorAll("[data-copies]")) {
  const field = document.getElementById(button.dataset.copies);
  const said = button.parentElement.querySelector("[data-copied]");
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(field.value ?? field.textContent);
      said.textContent = "Copied.";
    } catch {
      field.focus();
      getSelection().selectAllChildren(field);
      field.select?.();
      said.textContent = "Selected: press Ctrl+C to copy.";
    }
  });
}
