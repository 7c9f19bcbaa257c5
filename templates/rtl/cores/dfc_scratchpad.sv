// A memory of lines: one bank per word, each with its own address, so that skewed columns can reach it.
//
// Every bank has READS read ports and one write port; a read gives its data in the next cycle, and what a write of the
// same cycle brings is seen one cycle later. Port r of bank b is at r * BANKS + b.
module dfc_scratchpad #(
    parameter integer BANKS = 4,
    parameter integer WIDTH = 32,  // bits of a word
    parameter integer DEPTH = 64,  // words of a bank, lines of the memory
    parameter integer READS = 1,
    parameter integer AW = 24
) (
    input  wire                         clk,
    input  wire [READS*BANKS-1:0]       read,
    /* verilator lint_off UNUSEDSIGNAL */  // of an address the bits that DEPTH needs
    input  wire [READS*BANKS*AW-1:0]    raddr,
    output wire [READS*BANKS*WIDTH-1:0] rdata,
    input  wire [BANKS-1:0]             write,
    input  wire [BANKS*AW-1:0]          waddr,
    /* verilator lint_on UNUSEDSIGNAL */
    input  wire [BANKS*WIDTH-1:0]       wdata
);
  localparam integer DW = DEPTH > 1 ? $clog2(DEPTH) : 1;
  genvar b, r;
  generate
    for (b = 0; b < BANKS; b = b + 1) begin : bank
      reg [WIDTH-1:0] words [0:DEPTH-1];
      always @(posedge clk) if (write[b]) words[waddr[b*AW +: DW]] <= wdata[b*WIDTH +: WIDTH];
      for (r = 0; r < READS; r = r + 1) begin : port
        reg [WIDTH-1:0] held;
        always @(posedge clk) if (read[r*BANKS + b]) held <= words[raddr[(r*BANKS + b)*AW +: DW]];
        assign rdata[(r*BANKS + b)*WIDTH +: WIDTH] = held;
      end
    end
  endgenerate
endmodule
