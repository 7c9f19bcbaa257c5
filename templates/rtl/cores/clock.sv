// A clock for a bench under an event-driven simulator; BENCH is its module's name.
module clock;
  reg clk = 1'b0;
  always #1 clk = !clk;
  `BENCH bench (.clk(clk));
endmodule
