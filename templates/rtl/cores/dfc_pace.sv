// Whether a port of BITS per cycle has moved what the next line of a fold asks for; 0: a port as wide as any line.
// A line goes in the first cycle by whose end its bits, and those of the lines before it, have passed the port.
module dfc_pace #(
    parameter integer BITS = 0
) (
    input  wire        clk,
    input  wire        restart,  // the next cycle is the first one of a fold
    input  wire [31:0] need,     // bits of the next line
    input  wire        take,     // the line goes
    output wire        ready
);
  generate
    if (BITS == 0) begin : wide
      wire unused = &{1'b0, clk, restart, need, take};
      assign ready = 1'b1;
    end else begin : narrow
      reg [31:0] held;             // bits that have passed for lines to come
      wire [31:0] now = held + BITS[31:0];
      wire [31:0] left = take ? now - need : now;
      assign ready = now >= need;
      always @(posedge clk) held <= restart ? 32'd0 : left[31] ? held : left;
    end
  endgenerate
endmodule
