// Neither style elements nor functions made of text: the content security policy has the first
// refused, and nothing of Unfold's needs the second.
htmx.config.includeIndicatorStyles = false;
htmx.config.allowEval = false;
