// The slash puts the cursor into the search, from wherever nothing is being typed.
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  const field = document.getElementById("search-anything");
  if (typing || !field) return;
  event.preventDefault();
  field.focus();
  field.select();
});
